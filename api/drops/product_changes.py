"""Changes of a product by an operator: what it is called, when it is sold, to whom, and whether at all.

A change takes effect at one moment for all processes and Regions. It writes all shards of the product, and so does
every transaction that moves units write at least one: a transaction that has read the product as it was before cannot
commit after the change. So nothing is sold on the old terms once a change is answered.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from api.database.database import Database
from api.database.errors import Conflict
from api.database.pool import Transaction
from api.database.retry import RetryBudget, run_again
from api.drops.details import checked_descriptions, checked_images, encode_details
from api.drops.errors import InvalidInput, NotFound, StaleRevision
from api.drops.limits import checked_description, checked_moment, checked_name
from api.drops.operator_log import Action, FieldChange, Step, write_steps
from api.drops.products import (
    CHANGEABLE,
    Product,
    checked_hold,
    checked_limit,
    get_products,
    require_family,
    require_order,
)
from api.drops.shards import Shard

STOP = 2.0
"""Seconds for which no transaction of the product's purchases begins, at most, so that the change gets through beside
lines that never pause. It ends with the change. That of a process that is killed meanwhile ends by itself."""

# A step is looked for among the latest entries alone: a product can have a hundred thousand, of cancelled orders.
_READ = """
SELECT now() AS now, EXISTS (
    SELECT 1 FROM operator_log WHERE product_id = $1 AND created_at > now() - interval '10 minutes' AND id = $2
) AS is_done
"""
_STOP = "UPDATE products SET changing_until = now() + make_interval(secs => $2) WHERE id = $1"
_CHANGE = """
UPDATE products
SET name = $2, description = $3, opens_at = $4, closes_at = $5, limit_per_buyer = $6, hold_seconds = $7,
    paused_at = $8, archived_at = $9, revision = $10, changing_until = NULL, changed_at = now(),
    descriptions = $11, images = $12, price = $13, family = $14, option = $15,
    limit_changed_at = CASE WHEN limit_per_buyer IS DISTINCT FROM $6 THEN now() ELSE limit_changed_at END
WHERE id = $1 AND coalesce(revision, 0) = $10 - 1
RETURNING id
"""
_RENEW_SHARDS = """
UPDATE stock_shards SET version = version + 1 WHERE product_id = $1 RETURNING shard, stock, stocked, version
"""
_LOGGED = CHANGEABLE | {"paused_at": "pausedAt", "archived_at": "archivedAt"}
"""The fields that changes change, by their names in the API."""

_CHECKS: Mapping[str, Callable[[str, Any], object]] = {
    "name": checked_name,
    "description": checked_description,
    "opens_at": checked_moment,
    "closes_at": checked_moment,
    "limit_per_buyer": lambda _, units: checked_limit(units),
    "hold_seconds": lambda _, seconds: checked_hold(seconds),
    "descriptions": checked_descriptions,
    "images": checked_images,
    "price": lambda _, price: price,
    "family": checked_name,
    "option": checked_name,
}
_NONE: Mapping[str, tuple[()]] = {"descriptions": (), "images": ()}
"""The values that have no null."""

Change = Callable[[Product, datetime], Product]
"""What a product becomes at a moment of the database's clock. Raises a DropError."""


@dataclass(frozen=True, slots=True)
class ProductUpdate:
    """New values of a product that was read at a `revision`, by the fields of Product. The others stay."""

    product_id: UUID
    revision: int
    values: Mapping[str, Any]

    @classmethod
    def checked(cls, product_id: UUID, revision: int, values: Mapping[str, object]) -> "ProductUpdate":
        """`values`: of fields in CHANGEABLE; None removes a value. Each description and image, and the price, are
        checked before. Raises InvalidInput."""
        if "name" in values and values["name"] is None:
            raise InvalidInput("name must not be null; leave it out to keep it", "name")
        checked = {
            field: _NONE.get(field) if value is None else _CHECKS[field](CHANGEABLE[field], value)
            for field, value in values.items()
        }
        return cls(product_id, revision, checked)

    def apply(self, product: Product, now: datetime) -> Product:
        """See Change. Raises StaleRevision, InvalidInput."""
        if product.revision != self.revision:
            raise StaleRevision(
                f"the product has been changed meanwhile: it has the revision {product.revision}, not {self.revision}; "
                "read it again, and send your change with that revision"
            )
        changed = replace(product, **self.values)
        require_order(changed.opens_at, changed.closes_at)
        require_family(changed.family, changed.option)
        return changed


def pause(product: Product, now: datetime) -> Product:
    """See Change."""
    return replace(product, paused_at=product.paused_at or now)


def resume(product: Product, now: datetime) -> Product:
    """See Change. An archived product is for sale again, too."""
    return replace(product, paused_at=None, archived_at=None)


def archive(product: Product, now: datetime) -> Product:
    """See Change."""
    return replace(product, archived_at=product.archived_at or now)


@dataclass(frozen=True, slots=True)
class ChangedProduct:
    """The product after a change, and its shards; no shards if there was nothing to change."""

    product: Product
    shards: Sequence[Shard]


async def change_product(
    database: Database, product_id: UUID, change: Change, operator: str, action: Action, budget: RetryBudget
) -> ChangedProduct:
    """Change a product, and write it into the operator log, both or neither. A change that changes nothing writes
    nothing.

    Raises NotFound, the errors of `change`, Conflict when nothing was changed, Unavailable, OutcomeUnknown.
    """
    step_id = uuid4()

    async def attempt() -> ChangedProduct:
        if not await _stop(database, product_id, change, step_id):
            return ChangedProduct((await get_products(database, [product_id]))[product_id], ())
        async with database.begin() as transaction:
            product, now, is_done = await _read(transaction, product_id, step_id)
            changed = product if is_done else change(product, now)
            if changed == product:
                return ChangedProduct(product, ())
            shards = await _write(transaction, changed)
            step = Step(operator, action, _differences(product, changed), product_id, id=step_id)
            await write_steps(transaction, [step])
            # Read before COMMIT: a read that fails after it would report an error for a change that was made.
            product = (await get_products(transaction, [product_id]))[product_id]
            await transaction.commit()
            return ChangedProduct(product, shards)

    return await run_again(attempt, budget, safe_after_lost_commit=True)


async def _stop(database: Database, product_id: UUID, change: Change, step_id: UUID) -> bool:
    """Let no transaction of purchases begin for a moment. Returns False if there is nothing to change, or if this step
    has been made by a COMMIT whose answer was lost. Raises NotFound, the errors of `change` and of the database."""
    async with database.begin() as transaction:
        product, now, is_done = await _read(transaction, product_id, step_id)
        if is_done or change(product, now) == product:
            return False
        await transaction.execute(_STOP, product_id, STOP)
        await transaction.commit()
        return True


async def _read(transaction: Transaction, product_id: UUID, step_id: UUID) -> tuple[Product, datetime, bool]:
    """The product, the time, and whether the step is in the log. Raises NotFound."""
    row = await transaction.fetchrow(_READ, product_id, step_id)
    products = await get_products(transaction, [product_id])
    if row is None or product_id not in products:
        raise NotFound(f"there is no product {product_id}")
    return products[product_id], row["now"], row["is_done"]


async def _write(transaction: Transaction, product: Product) -> list[Shard]:
    """Store the product, and write its shards, which are returned as they are then. Raises Conflict."""
    updated = await transaction.fetch(
        _CHANGE,
        product.id,
        product.name,
        product.description,
        product.opens_at,
        product.closes_at,
        product.limit_per_buyer,
        product.hold_seconds,
        product.paused_at,
        product.archived_at,
        product.revision + 1,
        encode_details(product.descriptions),
        encode_details(product.images),
        None if product.price is None else str(product.price),
        product.family,
        product.option,
    )
    if not updated:
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("the product was changed between read and write")
    rows = await transaction.fetch(_RENEW_SHARDS, product.id)
    rows.sort(key=lambda row: int(row["shard"]))
    return [Shard(row["stock"], row["stocked"], row["version"]) for row in rows]


def _differences(before: Product, after: Product) -> tuple[FieldChange, ...]:
    pairs = ((name, getattr(before, field), getattr(after, field)) for field, name in _LOGGED.items())
    return tuple(FieldChange.of(name, was, becomes) for name, was, becomes in pairs if was != becomes)
