"""Products and their stock: reading, creating and restocking them."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from api.database.database import Database
from api.database.pool import Record, Transaction
from api.drops.availability import Availability
from api.drops.details import (
    Description,
    Image,
    Price,
    decode_descriptions,
    decode_images,
)
from api.drops.errors import InvalidInput, NotFound
from api.drops.keyset import Cursor, Page, Paging, keyset_query, window_of
from api.drops.limits import checked_name, checked_units

MIN_HOLD, MAX_HOLD = 30, 86_400
"""Seconds that a buyer can have to pay: enough for a payment at least, and a day at most."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as read at one moment. `stock`, `stocked` and `version` are the sums over its shards at that moment.

    `descriptions`: in languages that have one of their own, beside `description`. `price`: of one unit; None if the
    shop shows none. `family`: the name that products share which differ only in their `option`, such as the size;
    `hold_seconds`: for which a purchase is held until it is paid; None if a purchase is final at once. `paused_at`,
    `archived_at`: since when it is paused or archived; None if it is not. `revision`: rises by one with each change by
    an operator. `limit_changed_at`: when the limit per buyer was changed last; None if it is as it was created.
    `stocked`: units that were ever added, the sold ones included. `version`: rises with every change of `stock`, by the
    number of shards that the change writes. `shards`: their number. `read_at`: when it was read, by the database's
    clock.
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
    descriptions: tuple[Description, ...]
    images: tuple[Image, ...]
    price: Price | None
    family: str | None
    option: str | None
    stock: int
    stocked: int
    version: int
    shards: int
    read_at: datetime = field(compare=False)

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

    @property
    def opening(self) -> datetime:
        """When buying begins: with the creation if no moment is set."""
        return self.created_at if self.opens_at is None else self.opens_at

    @property
    def availability(self) -> Availability:
        """Whether it could be bought when it was read."""
        if self.archived_at is None and self.opens_at is not None and self.opens_at > self.read_at:
            return Availability.COMING
        gone = self.stock == 0 or self.closed_at(self.read_at) is not None
        return Availability.GONE if gone else Availability.ON_SALE


CHANGEABLE = {
    "name": "name",
    "description": "description",
    "opens_at": "opensAt",
    "closes_at": "closesAt",
    "limit_per_buyer": "limitPerBuyer",
    "hold_seconds": "holdSeconds",
    "descriptions": "descriptions",
    "images": "images",
    "price": "price",
    "family": "family",
    "option": "option",
}
"""What an operator gives a product and can change later, by its name in the API."""

_COLUMNS = (
    *("id", "name", "description", "drop_name", "opens_at", "closes_at", "limit_per_buyer", "hold_seconds"),
    *("created_at", "paused_at", "archived_at", "revision", "limit_changed_at"),
    *("descriptions", "images", "price", "family", "option", "read_at"),
)
PRODUCT_COLUMNS = (
    ", ".join(_COLUMNS).replace("revision", "coalesce(revision, 0) AS revision").replace("read_at", "now() AS read_at")
)
"""What `product_of` needs of a row of the table."""


SELECT_FOUND = f"SELECT {PRODUCT_COLUMNS} FROM products"


def select_products(found: str) -> str:
    """The statement for the products that the statement `found` selects, in any order. They are found first, so that
    only their shards are read. The sums over the shards of each product are in one column, as JSON: a join with the
    shards would be grouped by the products' columns, and to compare 100 long descriptions took PostgreSQL 50 ms."""
    products = f"({found}) AS found"
    return f"""
SELECT {", ".join(_COLUMNS)},
    (SELECT json_build_array(sum(stock), sum(stocked), sum(version), count(*))::text
     FROM stock_shards WHERE product_id = found.id) AS sums
FROM {products}
"""


_PRODUCTS_BY_ID = select_products(f"{SELECT_FOUND} WHERE id = ANY($1::text[]::uuid[])")

MAX_COUNTED = 1_000
"""Products that are counted at most. Anybody may ask for the count, and it reads an index entry for each."""


async def list_products(
    database: Database,
    first: int | None = None,
    after: str | None = None,
    drop_name: str | None = None,
    *,
    archived: bool = False,
    last: int | None = None,
    before: str | None = None,
) -> Page[Product]:
    """One page, newest first: of the products that are archived, or of all others. Raises InvalidInput, Conflict,
    Unavailable."""
    window = window_of("products", Paging(first, after, last, before))
    drop_name = None if drop_name is None else checked_name("dropName", drop_name)
    found, arguments = keyset_query(
        SELECT_FOUND, "products", {"drop_name": drop_name}, window, _archived_or_not(archived)
    )
    rows = await database.fetch(select_products(found), *arguments)
    return window.page(map(read_product, rows), lambda product: product.cursor.place, descending=True)


async def count_products(
    database: Database, drop_name: str | None = None, *, archived: bool = False, most: int = MAX_COUNTED
) -> int:
    """The number of the products that `list_products` lists, or `most` if there are more. Raises InvalidInput,
    Conflict, Unavailable."""
    condition, arguments = _archived_or_not(archived), list[object]()
    if drop_name is not None:
        condition, arguments = f"drop_name = $1 AND {condition}", [checked_name("dropName", drop_name)]
    # In the order of an index. Without it, a plan may read the table from its beginning, where archived products are.
    some = f"(SELECT id FROM products WHERE {condition} ORDER BY created_at, id LIMIT {most}) AS found"
    [row] = await database.fetch(f"SELECT count(*) AS products FROM {some}", *arguments)
    count: int = row["products"]
    return count


def _archived_or_not(archived: bool) -> str:
    return f"archived_at IS {'NOT ' if archived else ''}NULL"


async def get_products(database: Database | Transaction, ids: Iterable[UUID]) -> dict[UUID, Product]:
    """Those of the ids that exist, by id, in one read. Raises Conflict, Unavailable."""
    rows = await database.fetch(_PRODUCTS_BY_ID, [str(product_id) for product_id in set(ids)])
    return {row["id"]: read_product(row) for row in rows}


async def get_product(database: Database, product_id: UUID) -> Product:
    """The product. Raises NotFound, Conflict, Unavailable."""
    products = await get_products(database, [product_id])
    if product_id not in products:
        raise NotFound(f"there is no product {product_id}")
    return products[product_id]


def checked_limit(units: int) -> int:
    """The limit per buyer itself. Raises InvalidInput."""
    return checked_units("limitPerBuyer", units, least=1)


def require_order(opens_at: datetime | None, closes_at: datetime | None) -> None:
    """Raise InvalidInput for a drop that closes before it opens."""
    if opens_at is not None and closes_at is not None and closes_at <= opens_at:
        raise InvalidInput("closesAt must be later than opensAt", "closesAt")


def require_family(family: str | None, option: str | None) -> None:
    """Raise InvalidInput for an option without a family."""
    if option is not None and family is None:
        raise InvalidInput(
            "option needs a family: the name that it shares with the products of other options", "option"
        )


def checked_hold(seconds: int) -> int:
    """The seconds themselves. Raises InvalidInput."""
    if not MIN_HOLD <= seconds <= MAX_HOLD:
        raise InvalidInput(f"holdSeconds must be between {MIN_HOLD} and {MAX_HOLD}, not {seconds}", "holdSeconds")
    return seconds


def read_product(row: Record) -> Product:
    """A product from a row of select_products."""
    return product_of(row, *orjson.loads(row["sums"]))


def product_of(row: Record, stock: int, stocked: int, version: int, shards: int) -> Product:
    """A product from a row with PRODUCT_COLUMNS, and the sums over its shards."""
    values: dict[str, Any] = {column: row[column] for column in _COLUMNS}
    values["descriptions"] = decode_descriptions(values["descriptions"])
    values["images"] = decode_images(values["images"])
    values["price"] = Price.of(values["price"])
    return Product(**values, stock=stock, stocked=stocked, version=version, shards=shards)
