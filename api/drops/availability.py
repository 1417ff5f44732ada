"""Availability: whether a product can be bought, at a moment of the database's clock."""

from enum import StrEnum


class Availability(StrEnum):
    """COMING: it opens later. GONE: it is sold out, closed or archived. ON_SALE: all others, paused ones included."""

    ON_SALE = "ON_SALE"
    COMING = "COMING"
    GONE = "GONE"


_IS_COMING = "opens_at IS NOT NULL AND opens_at > now()"
_HAS_BEGUN = "(opens_at IS NULL OR opens_at <= now())"
_IS_OPEN = "(closes_at IS NULL OR closes_at > now())"
_HAS_UNITS = "(SELECT sum(stock) FROM stock_shards WHERE product_id = {id}) > 0"

CONDITIONS = {
    Availability.ON_SALE: f"{_HAS_BEGUN} AND {_IS_OPEN} AND {_HAS_UNITS}",
    Availability.COMING: _IS_COMING,
    Availability.GONE: f"{_HAS_BEGUN} AND NOT ({_IS_OPEN} AND {_HAS_UNITS})",
}
"""The condition of each in SQL, for a product that is not archived. `{id}`: the column that has its id. A sum is looked
up for each product; for EXISTS, a plan may read the shards of all products."""
