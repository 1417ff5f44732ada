"""Products and their stock: reading, creating and restocking them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from api.database.database import Database
from api.database.pool import Record, Transaction
from api.database.retry import RetryBudget, run_again
from api.drops.errors import InvalidInput, NotFound
from api.drops.keyset import Cursor, Page, keyset_query
from api.drops.limits import MAX_UNITS, checked_moment, checked_name, checked_units


@dataclass(frozen=True, slots=True)
class Product:
    """A product as read at one moment. `version` rises by one with every change of `stock`. `stocked`: units that were
    ever added, the sold ones included."""

    id: UUID
    name: str
    drop_name: str
    opens_at: datetime | None
    limit_per_buyer: int | None
    created_at: datetime
    stock: int
    stocked: int
    version: int

    @property
    def cursor(self) -> Cursor:
        return Cursor("products", self.created_at, self.id)


@dataclass(frozen=True, slots=True)
class NewProduct:
    """A product to create. Its id is chosen here, so that a second attempt to create it changes nothing."""

    id: UUID
    name: str
    drop_name: str
    stock: int
    opens_at: datetime | None
    limit_per_buyer: int | None

    @classmethod
    def checked(
        cls,
        *,
        name: str,
        drop_name: str,
        stock: int,
        opens_at: datetime | None = None,
        limit_per_buyer: int | None = None,
    ) -> "NewProduct":
        """Raises InvalidInput."""
        return cls(
            id=uuid4(),
            name=checked_name("name", name),
            drop_name=checked_name("dropName", drop_name),
            stock=checked_units("stock", stock, least=0),
            opens_at=None if opens_at is None else checked_moment("opensAt", opens_at),
            limit_per_buyer=None
            if limit_per_buyer is None
            else checked_units("limitPerBuyer", limit_per_buyer, least=1),
        )


SELECT_PRODUCTS = """
SELECT products.id, name, drop_name, opens_at, limit_per_buyer, created_at, stock, stocked, version
FROM products JOIN inventory ON inventory.product_id = products.id
"""
_INSERT_PRODUCT = """
INSERT INTO products (id, name, drop_name, opens_at, limit_per_buyer)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (id) DO NOTHING
"""
_INSERT_INVENTORY = """
INSERT INTO inventory (id, product_id, stock, stocked)
VALUES ($1, $2, $3::integer, $3::integer) ON CONFLICT (product_id) DO NOTHING
"""
# The bound is on `stocked`, so that the units of cancelled orders always fit into the stock.
_RESTOCK = """
UPDATE inventory SET stock = stock + $2, stocked = stocked + $2, version = version + 1
WHERE product_id = $1 AND stock + $2::bigint >= 0 AND stocked + $2 <= 2147483647
"""


async def list_products(
    database: Database, first: int, after: str | None = None, drop_name: str | None = None
) -> Page[Product]:
    """One page, newest first. Raises InvalidInput, Conflict, Unavailable."""
    cursor = None if after is None else Cursor.decode(after, "products")
    drop_name = None if drop_name is None else checked_name("dropName", drop_name)
    statement, arguments = keyset_query(SELECT_PRODUCTS, "products", {"drop_name": drop_name}, cursor, first)
    rows = await database.fetch(statement, *arguments)
    return Page([product_of(row) for row in rows[:first]], has_next=len(rows) > first)


async def get_products(database: Database, ids: Iterable[UUID]) -> dict[UUID, Product]:
    """Those of the ids that exist, by id, in one read. Raises Conflict, Unavailable."""
    statement = f"{SELECT_PRODUCTS} WHERE products.id = ANY($1::text[]::uuid[])"
    rows = await database.fetch(statement, [str(product_id) for product_id in set(ids)])
    return {row["id"]: product_of(row) for row in rows}


async def get_product(database: Database, product_id: UUID) -> Product:
    """The product. Raises NotFound, Conflict, Unavailable."""
    products = await get_products(database, [product_id])
    if product_id not in products:
        raise NotFound(f"there is no product {product_id}")
    return products[product_id]


async def read_product(transaction: Transaction, product_id: UUID) -> Product:
    """The product as this transaction sees it. Raises NotFound, Conflict, Unavailable.

    It is read before COMMIT on purpose: a read that fails after it would report an error for a change that was made.
    """
    row = await transaction.fetchrow(f"{SELECT_PRODUCTS} WHERE products.id = $1", product_id)
    if row is None:
        raise NotFound(f"there is no product {product_id}")
    return product_of(row)


async def create_product(database: Database, product: NewProduct, budget: RetryBudget = RetryBudget()) -> Product:
    """Create a product with its stock, both or neither. Raises Conflict, Unavailable, OutcomeUnknown."""

    async def attempt() -> Product:
        async with database.begin() as transaction:
            await transaction.execute(
                _INSERT_PRODUCT,
                product.id,
                product.name,
                product.drop_name,
                product.opens_at,
                product.limit_per_buyer,
            )
            await transaction.execute(_INSERT_INVENTORY, uuid4(), product.id, product.stock)
            created = await read_product(transaction, product.id)
            await transaction.commit()
            return created

    return await run_again(attempt, budget, safe_after_lost_commit=True)


async def restock(database: Database, product_id: UUID, delta: int, budget: RetryBudget = RetryBudget()) -> Product:
    """Add units, or remove unsold units with a negative `delta`.

    Raises InvalidInput, NotFound, Conflict, Unavailable; and OutcomeUnknown after the first lost COMMIT. A retry could
    add the units twice, so the operator has to look at the stock.
    """
    if delta == 0 or abs(delta) > MAX_UNITS:
        raise InvalidInput(f"delta must be between -{MAX_UNITS} and {MAX_UNITS}, and not 0")

    async def attempt() -> Product:
        async with database.begin() as transaction:
            changed = await transaction.execute(_RESTOCK, product_id, delta) == "UPDATE 1"
            product = await read_product(transaction, product_id)
            if not changed and product.stock + delta < 0:
                raise InvalidInput(f"the stock is {product.stock}; {-delta} units cannot be taken back from it")
            if not changed:
                raise InvalidInput(f"no more than {MAX_UNITS} units can ever be put into one product")
            await transaction.commit()
            return product

    return await run_again(attempt, budget, safe_after_lost_commit=False)


def product_of(row: Record) -> Product:
    """A product from a row of SELECT_PRODUCTS."""
    return Product(
        row["id"],
        row["name"],
        row["drop_name"],
        row["opens_at"],
        row["limit_per_buyer"],
        row["created_at"],
        row["stock"],
        row["stocked"],
        row["version"],
    )
