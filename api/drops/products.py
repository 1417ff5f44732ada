"""Products and their stock: reading, creating and restocking them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any
from uuid import UUID, uuid4, uuid5

import orjson

from api.database.database import Database
from api.database.pool import Record, Transaction
from api.database.retry import RetryBudget, run_again
from api.drops.errors import IdempotencyKeyReused, InvalidInput, NotFound
from api.drops.keyset import Cursor, Page, keyset_clauses
from api.drops.limits import checked_description, checked_moment, checked_name, checked_text, checked_units
from api.drops.operator_log import Action, FieldChange, Step, write_steps
from api.drops.shards import DEFAULT_SHARDS, MAX_SHARDS, RESTOCKED, split_stock

_PRODUCT_NAMESPACE = UUID("c0b7e9f4-5a1d-5e63-9b8e-41d0a7f2c955")
"""Never to change: the ids of all products created under a key derive from it."""


MIN_HOLD, MAX_HOLD = 30, 86_400
"""Seconds that a buyer can have to pay: enough for a payment at least, and a day at most."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as read at one moment. `stock`, `stocked` and `version` are the sums over its shards at that moment.

    `hold_seconds`: for which a purchase is held until it is paid; None if a purchase is final at once. `paused_at`,
    `archived_at`: since when it is paused or archived; None if it is not. `revision`: rises by one with each change by
    an operator. `limit_changed_at`: when the limit per buyer was changed last; None if it is as it was created.
    `stocked`: units that were ever added, the sold ones included. `version`: rises with every change of `stock`, by the
    number of shards that the change writes. `shards`: their number.
    """

    id: UUID
    name: str
    description: str | None
    drop_name: str
    opens_at: datetime | None
    closes_at: datetime | None
    limit_per_buyer: int | None
    hold_seconds: int | None
    created_at: datetime
    paused_at: datetime | None
    archived_at: datetime | None
    revision: int
    limit_changed_at: datetime | None
    stock: int
    stocked: int
    version: int
    shards: int

    @property
    def cursor(self) -> Cursor:
        return Cursor("products", self.created_at, self.id)

    @property
    def keeps_holdings(self) -> bool:
        """Whether each purchase writes its buyer's holding. Once the limit has been changed, it does so for ever: then
        the holdings are right whenever there is a limit again."""
        return self.limit_per_buyer is not None or self.limit_changed_at is not None

    def closed_at(self, now: datetime) -> datetime | None:
        """When buying has ended, at a moment of the database's clock; None if it has not.

        An archived product is closed whatever the clock says. The moment of the archiving is of another transaction,
        perhaps through another Region, whose clock can be ahead.
        """
        if self.closes_at is not None and self.closes_at <= now:
            return self.closes_at if self.archived_at is None else min(self.closes_at, self.archived_at)
        return self.archived_at


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
        idempotency_key: str | None = None,
    ) -> "NewProduct":
        """The id is derived from the idempotency key, or else random. Raises InvalidInput."""
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
        )
        require_order(new.opens_at, new.closes_at)
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
        return tuple(FieldChange.of(name, None, value) for name, value in values.items() if value is not None)


CHANGEABLE = {
    "name": "name",
    "description": "description",
    "opens_at": "opensAt",
    "closes_at": "closesAt",
    "limit_per_buyer": "limitPerBuyer",
    "hold_seconds": "holdSeconds",
}
"""What an operator gives a product and can change later, by its name in the API."""

_COLUMNS = (
    *("id", "name", "description", "drop_name", "opens_at", "closes_at", "limit_per_buyer", "hold_seconds"),
    *("created_at", "paused_at", "archived_at", "revision", "limit_changed_at"),
)
PRODUCT_COLUMNS = ", ".join(_COLUMNS).replace("revision", "coalesce(revision, 0) AS revision")
"""What `product_of` needs of a row of the table."""

_INSERT_PRODUCT = """
INSERT INTO products (id, name, drop_name, opens_at, limit_per_buyer, hold_seconds, description, closes_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING
"""
_ONE_ROW = "INSERT 0 1"
_INSERT_SHARDS = """
INSERT INTO stock_shards (product_id, shard, stock, stocked, version)
SELECT $1, split.shard, split.stock, split.stocked, CASE WHEN split.shard = 0 THEN 1 ELSE 0 END
FROM unnest($2::text[]::integer[], $3::text[]::integer[], $4::text[]::bigint[]) AS split (shard, stock, stocked)
"""


def _select_products(clauses: str) -> str:
    """The statement for the products that the clauses choose, newest first. They are found first, so that only their
    shards are read. The sums over the shards of each product are in one column, as JSON: a join with the shards would
    be grouped by the products' columns, and to compare 100 long descriptions took PostgreSQL 50 ms."""
    return f"""
SELECT {", ".join(_COLUMNS)},
    (SELECT json_build_array(sum(stock), sum(stocked), sum(version), count(*))::text
     FROM stock_shards WHERE product_id = found.id) AS sums
FROM (SELECT {PRODUCT_COLUMNS} FROM products {clauses}) AS found
ORDER BY created_at DESC, id DESC
"""


_PRODUCTS_BY_ID = _select_products("WHERE id = ANY($1::text[]::uuid[])")


async def list_products(
    database: Database,
    first: int,
    after: str | None = None,
    drop_name: str | None = None,
    *,
    archived: bool = False,
) -> Page[Product]:
    """One page, newest first: of the products that are archived, or of all others. Raises InvalidInput, Conflict,
    Unavailable."""
    cursor = None if after is None else Cursor.decode(after, "products")
    drop_name = None if drop_name is None else checked_name("dropName", drop_name)
    condition = f"archived_at IS {'NOT ' if archived else ''}NULL"
    clauses, arguments = keyset_clauses("products", {"drop_name": drop_name}, cursor, first, condition)
    rows = await database.fetch(_select_products(clauses), *arguments)
    return Page([_product_of(row) for row in rows[:first]], has_next=len(rows) > first)


async def get_products(database: Database | Transaction, ids: Iterable[UUID]) -> dict[UUID, Product]:
    """Those of the ids that exist, by id, in one read. Raises Conflict, Unavailable."""
    rows = await database.fetch(_PRODUCTS_BY_ID, [str(product_id) for product_id in set(ids)])
    return {row["id"]: _product_of(row) for row in rows}


async def get_product(database: Database, product_id: UUID) -> Product:
    """The product. Raises NotFound, Conflict, Unavailable."""
    products = await get_products(database, [product_id])
    if product_id not in products:
        raise NotFound(f"there is no product {product_id}")
    return products[product_id]


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
            )
            if inserted == _ONE_ROW:
                await _insert_shards(transaction, product)
                if operator is not None:
                    step = Step(operator, Action.PRODUCT_CREATED, product.changes, product.id)
                    await write_steps(transaction, [step])
            # Read before COMMIT: a read that fails after it would report an error for a change that was made.
            created = _product_of((await transaction.fetch(_PRODUCTS_BY_ID, [str(product.id)]))[0])
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


def checked_limit(units: int) -> int:
    """The limit per buyer itself. Raises InvalidInput."""
    return checked_units("limitPerBuyer", units, least=1)


def require_order(opens_at: datetime | None, closes_at: datetime | None) -> None:
    """Raise InvalidInput for a drop that closes before it opens."""
    if opens_at is not None and closes_at is not None and closes_at <= opens_at:
        raise InvalidInput("closesAt must be later than opensAt", "closesAt")


def checked_hold(seconds: int) -> int:
    """The seconds themselves. Raises InvalidInput."""
    if not MIN_HOLD <= seconds <= MAX_HOLD:
        raise InvalidInput(f"holdSeconds must be between {MIN_HOLD} and {MAX_HOLD}, not {seconds}", "holdSeconds")
    return seconds


def _checked_shards(shards: int) -> int:
    """Raises InvalidInput."""
    if not 1 <= shards <= MAX_SHARDS:
        raise InvalidInput(f"shards must be between 1 and {MAX_SHARDS}, not {shards}", "shards")
    return shards


def _product_of(row: Record) -> Product:
    """A product from a row of _select_products."""
    return product_of(row, *orjson.loads(row["sums"]))


def product_of(row: Record, stock: int, stocked: int, version: int, shards: int) -> Product:
    """A product from a row with PRODUCT_COLUMNS, and the sums over its shards."""
    values: dict[str, Any] = {column: row[column] for column in _COLUMNS}
    return Product(**values, stock=stock, stocked=stocked, version=version, shards=shards)
