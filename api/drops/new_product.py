"""Creating a product with its stock."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from uuid import UUID, uuid4, uuid5

from api.database.database import Database
from api.database.pool import Transaction
from api.database.retry import RetryBudget, run_again
from api.drops.catalogue import write_drop
from api.drops.details import Description, Image, Price, checked_descriptions, checked_images, encode_details
from api.drops.errors import IdempotencyKeyReused, InvalidInput
from api.drops.limits import checked_description, checked_moment, checked_name, checked_text, checked_units
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
from api.drops.shards import DEFAULT_SHARDS, MAX_SHARDS, RESTOCKED, split_stock

_PRODUCT_NAMESPACE = UUID("c0b7e9f4-5a1d-5e63-9b8e-41d0a7f2c955")
"""Never to change: the ids of all products created under a key derive from it."""


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A product to create. Its id is chosen here, so that a second attempt to create it changes nothing.

    `shards`: rows that its stock is spread over. Transactions that take units from different rows do not conflict.
    """

    id: UUID
    name: str
    drop_name: str
    stock: int
    opens_at: datetime | None
    limit_per_buyer: int | None
    hold_seconds: int | None = None
    shards: int = DEFAULT_SHARDS
    description: str | None = None
    closes_at: datetime | None = None
    descriptions: tuple[Description, ...] = ()
    images: tuple[Image, ...] = ()
    price: Price | None = None
    family: str | None = None
    option: str | None = None

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        drop_name: str,
        stock: int,
        opens_at: datetime | None = None,
        limit_per_buyer: int | None = None,
        hold_seconds: int | None = None,
        shards: int = DEFAULT_SHARDS,
        description: str | None = None,
        closes_at: datetime | None = None,
        descriptions: Sequence[Description] = (),
        images: Sequence[Image] = (),
        price: Price | None = None,
        family: str | None = None,
        option: str | None = None,
        idempotency_key: str | None = None,
    ) -> "NewProduct":
        """The id is derived from the idempotency key, or else random. Each description and image, and the price, are
        checked before. Raises InvalidInput."""
        key = None if idempotency_key is None else checked_text("idempotencyKey", idempotency_key)
        new = cls(
            id=uuid4() if key is None else uuid5(_PRODUCT_NAMESPACE, key),
            name=checked_name("name", name),
            drop_name=checked_name("dropName", drop_name),
            stock=checked_units("stock", stock, least=0),
            opens_at=None if opens_at is None else checked_moment("opensAt", opens_at),
            limit_per_buyer=None if limit_per_buyer is None else checked_limit(limit_per_buyer),
            hold_seconds=None if hold_seconds is None else checked_hold(hold_seconds),
            shards=_checked_shards(shards),
            description=None if description is None else checked_description("description", description),
            closes_at=None if closes_at is None else checked_moment("closesAt", closes_at),
            descriptions=checked_descriptions("descriptions", descriptions),
            images=checked_images("images", images),
            price=price,
            family=None if family is None else checked_name("family", family),
            option=None if option is None else checked_name("option", option),
        )
        require_order(new.opens_at, new.closes_at)
        require_family(new.family, new.option)
        return new

    def describes(self, product: Product) -> bool:
        """Whether the product is what was to be created. Its stock can have changed since; and all of it, if operators
        have changed it."""
        described = attrgetter("id", *CHANGEABLE, "drop_name", "shards")
        return product.revision > 0 or bool(described(self) == described(product))

    @property
    def changes(self) -> tuple[FieldChange, ...]:
        """What the operator log has of its creation."""
        values = {"stock": self.stock, **{name: getattr(self, field) for field, name in CHANGEABLE.items()}}
        return tuple(FieldChange.of(name, None, value) for name, value in values.items() if value not in (None, ()))


_INSERT_PRODUCT = """
INSERT INTO products (
    id, name, drop_name, opens_at, limit_per_buyer, hold_seconds, description, closes_at, descriptions, images, price,
    family, option, changed_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, now()) ON CONFLICT (id) DO NOTHING
"""
_ONE_ROW = "INSERT 0 1"
_INSERT_SHARDS = """
INSERT INTO stock_shards (product_id, shard, stock, stocked, version)
SELECT $1, split.shard, split.stock, split.stocked, CASE WHEN split.shard = 0 THEN 1 ELSE 0 END
FROM unnest($2::text[]::integer[], $3::text[]::integer[], $4::text[]::bigint[]) AS split (shard, stock, stocked)
"""


async def create_product(
    database: Database, product: NewProduct, budget: RetryBudget = RetryBudget(), operator: str | None = None
) -> Product:
    """Create a product with its stock, both or neither. When there is a product of this id, it is returned unchanged.
    The `operator` is written into the log; None for a product that no operator has created.

    Raises IdempotencyKeyReused when that product is another one, Conflict, Unavailable, OutcomeUnknown.
    """

    async def attempt() -> Product:
        async with database.begin() as transaction:
            inserted = await transaction.execute(
                _INSERT_PRODUCT,
                product.id,
                product.name,
                product.drop_name,
                product.opens_at,
                product.limit_per_buyer,
                product.hold_seconds,
                product.description,
                product.closes_at,
                encode_details(product.descriptions),
                encode_details(product.images),
                None if product.price is None else str(product.price),
                product.family,
                product.option,
            )
            if inserted == _ONE_ROW:
                await _insert_shards(transaction, product)
                await write_drop(transaction, product.drop_name)
                if operator is not None:
                    step = Step(operator, Action.PRODUCT_CREATED, product.changes, product.id)
                    await write_steps(transaction, [step])
            # Read before COMMIT: a read that fails after it would report an error for a change that was made.
            created = (await get_products(transaction, [product.id]))[product.id]
            if not product.describes(created):
                raise IdempotencyKeyReused(
                    f"this idempotencyKey was used to create {created.name!r}; use a new key for another product"
                )
            await transaction.commit()
            return created

    return await run_again(attempt, budget, safe_after_lost_commit=True)


async def _insert_shards(transaction: Transaction, product: NewProduct) -> None:
    stocks = split_stock(product.stock, product.shards)
    stocked = [product.stock if shard == RESTOCKED else 0 for shard in range(product.shards)]
    await transaction.execute(
        _INSERT_SHARDS,
        product.id,
        list(map(str, range(product.shards))),
        list(map(str, stocks)),
        list(map(str, stocked)),
    )


def _checked_shards(shards: int) -> int:
    """Raises InvalidInput."""
    if not 1 <= shards <= MAX_SHARDS:
        raise InvalidInput(f"shards must be between 1 and {MAX_SHARDS}, not {shards}", "shards")
    return shards
