"""Products as if they were read, for tests without a database."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from api.drops.products import Product

_TEE = Product(
    id=UUID(int=1),
    name="Tee",
    description=None,
    drop_name="First Light",
    opens_at=None,
    closes_at=None,
    limit_per_buyer=None,
    hold_seconds=None,
    created_at=datetime(2026, 12, 1, 10, tzinfo=UTC),
    paused_at=None,
    archived_at=None,
    revision=0,
    limit_changed_at=None,
    descriptions=(),
    images=(),
    price=None,
    family=None,
    option=None,
    stock=10,
    stocked=10,
    version=1,
    shards=16,
    read_at=datetime(2026, 12, 1, 11, tzinfo=UTC),
)


def new_product_row(**values: Any) -> Product:
    """A product of ten units with these values."""
    return replace(_TEE, **values)
