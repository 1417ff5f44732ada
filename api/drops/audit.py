"""The audit: whether the books of every product balance, at one moment."""

from dataclasses import dataclass
from uuid import UUID

from api.database.database import Database

# One statement is one snapshot, on a live database as well. Orders and holdings of no product are found too. The column
# `status` is CONFIRMED for held orders as well: they have their units. Where the limit was changed, buyers
# who have moved no units since have no holding; see Product.keeps_holdings.
_AUDIT = """
SELECT coalesce(stock.product_id, sold.product_id, wrong.product_id) AS product_id, products.name,
       stock.shards, stock.stocked, stock.stock,
       coalesce(sold.held, 0) AS held, coalesce(sold.units, 0) AS sold, coalesce(sold.orders, 0) AS orders,
       coalesce(wrong.holdings, 0) AS wrong_holdings
FROM (
    SELECT product_id, count(*) AS shards, sum(stocked)::bigint AS stocked, sum(stock)::bigint AS stock
    FROM stock_shards GROUP BY product_id
) AS stock
FULL JOIN (
    SELECT product_id, sum(quantity) FILTER (WHERE held_until IS NOT NULL) AS held,
           sum(quantity) FILTER (WHERE held_until IS NULL) AS units, count(*) AS orders
    FROM orders WHERE status = 'CONFIRMED' GROUP BY product_id
) AS sold ON sold.product_id = stock.product_id
FULL JOIN (
    SELECT coalesce(holdings.product_id, bought.product_id) AS product_id, count(*) AS holdings
    FROM holdings
    FULL JOIN (
        SELECT orders.product_id, orders.user_ref, sum(orders.quantity) AS units,
               products.limit_changed_at IS NULL AS complete
        FROM orders JOIN products ON products.id = orders.product_id
        WHERE orders.status = 'CONFIRMED'
          AND (products.limit_per_buyer IS NOT NULL OR products.limit_changed_at IS NOT NULL)
        GROUP BY orders.product_id, orders.user_ref, products.limit_changed_at
    ) AS bought ON bought.product_id = holdings.product_id AND bought.user_ref = holdings.user_ref
    WHERE coalesce(holdings.units, 0) <> coalesce(bought.units, 0)
      AND (holdings.product_id IS NOT NULL OR bought.complete)
    GROUP BY coalesce(holdings.product_id, bought.product_id)
) AS wrong ON wrong.product_id = coalesce(stock.product_id, sold.product_id)
LEFT JOIN products ON products.id = coalesce(stock.product_id, sold.product_id, wrong.product_id)
ORDER BY products.created_at, products.id
"""


AUDIT_TIMEOUT = 600.0
"""Seconds. The audit reads every order."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One product's books, in units. `name`, `shards`, `stocked` and `stock` are None for orders and holdings whose
    product does not exist.

    `held` and `sold`: in held and in confirmed orders, of which there are `orders`. `wrong_holdings`: buyers whose
    holding is not the sum of these orders; always 0 without a limit per buyer.
    """

    product_id: UUID
    name: str | None
    shards: int | None
    stocked: int | None
    stock: int | None
    held: int
    sold: int
    orders: int
    wrong_holdings: int

    @property
    def objection(self) -> str | None:
        """Why the books do not balance. None if they do: every unit that was put in is in stock, held or sold, and
        every holding is right."""
        if self.stocked is None or self.stock is None:
            return f"there is no stock of it, and {self.held} units are held and {self.sold} sold"
        if self.stocked != self.stock + self.held + self.sold:
            units = f"{self.stock} in stock, {self.held} held and {self.sold} sold"
            return f"{self.stocked} units were put in, and there are {units}"
        if self.wrong_holdings:
            return f"the holdings of {self.wrong_holdings} buyers are not the units of their orders"
        return None

    @property
    def balanced(self) -> bool:
        return self.objection is None


async def audit(database: Database) -> list[AuditLine]:
    """Every product's books in one snapshot, oldest product first. Raises Conflict, Unavailable."""
    return [AuditLine(**row) for row in await database.fetch(_AUDIT, timeout=AUDIT_TIMEOUT)]
