"""The purchase: one transaction that decides a group of requests about one product.

It sells exactly the stock. The stock is the sum over the product's shards in the transaction's snapshot, and units are
taken only from shards that nobody has written since: the first to commit wins. For a product with a limit, the same
holds for the holdings of the buyers. What is only read decides nothing that a rival could make untrue: "sold out" is
said of the moment of the snapshot.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from api.database.database import Database
from api.database.errors import Conflict, OutcomeUnknown
from api.database.pool import TRANSACTION_TIMEOUT, Transaction
from api.drops.decisions import Decision
from api.drops.details import Price
from api.drops.errors import DropError, NotFound
from api.drops.events import outbox_entry
from api.drops.operator_log import write_steps
from api.drops.orders import CONFIRMED_AT, STATUS, Order, OrderStatus
from api.drops.products import PRODUCT_COLUMNS, Product, product_of
from api.drops.requests import LapseRequest, Request, RestockRequest
from api.drops.sale import Sale, Snapshot
from api.drops.shards import RESTOCKED, Shard, change_stock

MANY_ORDERS = 100
"""A buyer with so many orders gets a holding once they were read, even by a purchase that is refused. 20,000 orders
take 7 ms of each transaction on PostgreSQL."""

# Units of the buyers who have no holding yet although holdings are kept, those of orders that are older than the limit;
# and how many orders were read for them. The product is no condition, or a plan for the average product would read all
# orders of a hot one.
_BOUGHT = """
(SELECT json_object_agg(buyer.user_ref, (
    SELECT json_build_array(
        coalesce(sum(quantity) FILTER (WHERE product_id = $1 AND status = 'CONFIRMED'), 0), count(*))
    FROM orders WHERE orders.user_ref = buyer.user_ref))::text
 FROM unnest($4::text[]) AS buyer (user_ref)
 WHERE NOT EXISTS (SELECT 1 FROM holdings WHERE product_id = $1 AND holdings.user_ref = buyer.user_ref))
"""
# Each order is looked up by itself, behind a LIMIT that no plan looks through. For `id = ANY(...)` a plan that was made
# while the table was nearly empty reads the whole table, and is kept: with 15,000 orders, purchases took four times as
# long on PostgreSQL.
# All in one row, for one round trip. As JSON, since asyncpg looks up the type of an array with a statement that Aurora
# DSQL refuses.
_READ = f"""
SELECT now() AS now, {PRODUCT_COLUMNS}, coalesce(changing_until > now(), false) AS changing,
    (SELECT json_agg(json_build_array(stock, stocked, version) ORDER BY shard)::text
     FROM stock_shards WHERE product_id = $1) AS shards,
    (SELECT json_agg(json_build_array(
        id, user_ref, quantity, {STATUS}, region, created_at, held_until, {CONFIRMED_AT}, payment_ref, price))::text
     FROM unnest($2::text[]::uuid[]) AS wanted (order_id)
     CROSS JOIN LATERAL (SELECT * FROM orders WHERE id = wanted.order_id LIMIT 1) AS found) AS orders,
    (SELECT json_object_agg(id, delta)::text FROM restocks WHERE id = ANY($3::text[]::uuid[])) AS restocks,
    (SELECT json_object_agg(user_ref, units)::text FROM holdings
     WHERE product_id = $1 AND user_ref = ANY($4::text[])) AS held,
    CASE WHEN limit_changed_at IS NOT NULL THEN {_BOUGHT} END AS bought
FROM products WHERE id = $1
"""
_CHANGE_STOCK = """
UPDATE stock_shards
SET stock = stock - taken.units, stocked = stocked + taken.restocked, version = version + 1
FROM unnest($2::text[]::integer[], $3::text[]::integer[], $4::text[]::bigint[], $5::text[]::bigint[])
    AS taken (from_shard, units, restocked, read_version)
WHERE product_id = $1 AND shard = taken.from_shard AND version = taken.read_version
RETURNING shard
"""
_INSERT_ORDERS = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region, held_until, confirmed_at, price)
SELECT batch.id, $1, batch.user_ref, batch.quantity, 'CONFIRMED', $2, $3,
    CASE WHEN $3::timestamptz IS NULL THEN now() END, $7
FROM unnest($4::text[]::uuid[], $5::text[], $6::text[]::integer[]) AS batch (id, user_ref, quantity)
"""
_CHANGE_ORDERS = f"""
UPDATE orders
SET status = CASE batch.becomes WHEN 'CONFIRMED' THEN 'CONFIRMED' ELSE 'CANCELLED' END, held_until = NULL,
    confirmed_at = batch.paid_at, payment_ref = batch.paid_by,
    lapsed_at = CASE batch.becomes WHEN 'LAPSED' THEN coalesce(lapsed_at, now()) END
FROM unnest($1::text[]::uuid[], $2::text[], $3::text[], $4::text[]::timestamptz[], $5::text[])
    AS batch (order_id, was, becomes, paid_at, paid_by)
WHERE id = batch.order_id AND {STATUS} = batch.was
RETURNING id
"""
_INSERT_RESTOCKS = """
INSERT INTO restocks (id, product_id, delta)
SELECT batch.id, $1, batch.delta FROM unnest($2::text[]::uuid[], $3::text[]::integer[]) AS batch (id, delta)
"""
_WRITE_HOLDINGS = """
INSERT INTO holdings (product_id, user_ref, units)
SELECT $1, batch.user_ref, batch.units FROM unnest($2::text[], $3::text[]::integer[]) AS batch (user_ref, units)
ON CONFLICT (product_id, user_ref) DO UPDATE SET units = excluded.units
"""
_INSERT_OUTBOX = """
INSERT INTO outbox (id, product_id, events, units, happened) VALUES (gen_random_uuid(), $1, $2, $3, $4)
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did: a decision for each request, in their order.

    `product` and its `shards`: as the transaction left them; None and nothing when there is no such product.
    `region`: the Region that decided. `committed`: whether it changed anything; otherwise it was rolled back.
    """

    decisions: list[Decision | DropError]
    product: Product | None
    shards: Sequence[Shard]
    region: str
    committed: bool


class GroupFailed(Exception):
    """The transaction changed nothing. If `error` is OutcomeUnknown, it is not known whether it did.

    `error`: what ended the transaction, at the endpoint of `region`. `sale`: what had been decided by then.
    Its `settled` decisions are true all the same. Its other decisions are not.
    """

    def __init__(self, error: Exception, region: str, sale: Sale | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.region = region
        self.sale = sale

    @property
    def unknown(self) -> Sale | None:
        """What was to be written by a COMMIT whose outcome is unknown; None if no COMMIT was sent."""
        return self.sale if isinstance(self.error, OutcomeUnknown) else None


async def execute_group(
    database: Database,
    product_id: UUID,
    requests: Sequence[Request],
    own: Sequence[int],
    timeout: float = TRANSACTION_TIMEOUT,
    committing: Callable[[int], None] = lambda shards: None,
    keep_events: bool = False,
) -> Batch:
    """Decide all requests, which are of this one product, in one transaction: all of it or nothing.

    `own`: the shards to draw from, see shards.take_units. `timeout` in seconds, up to the COMMIT; `committing` is
    called right before it, with the number of the product's shards. `keep_events`: what happens is written to the
    outbox.

    Raises GroupFailed. After a Conflict, Unavailable or OutcomeUnknown the caller runs the group again. Any other error
    shows that one of the requests can never be executed.
    """
    region = database.region  # when an error arrives, `database` can already use another
    sale: Sale | None = None
    try:
        async with database.begin(timeout) as transaction:
            region = transaction.region
            snapshot = await _read(transaction, product_id, requests)
            if snapshot is None:
                missing = [NotFound(f"there is no product {product_id}") for _ in requests]
                return Batch([*missing], None, (), region, committed=False)

            sale = Sale(snapshot, region)
            for request in requests:
                sale.decide(request)
            if not sale.written and not snapshot.to_keep:
                return Batch(sale.decisions, snapshot.product, snapshot.shards, region, committed=False)

            shards = await _change_stock(transaction, sale, own)
            product = _with_stock(snapshot.product, shards)
            await _insert_orders(transaction, product_id, sale.placed)
            await _change_orders(transaction, sale)
            await _insert_restocks(transaction, product_id, sale.restocked)
            await _write_holdings(transaction, product_id, sale.holdings)
            await write_steps(transaction, sale.steps)
            if keep_events and sale.happenings:
                await _insert_outbox(transaction, sale, product)
            committing(len(shards))
            await transaction.commit()
            return Batch(sale.decisions, product, shards, region, committed=True)
    except Exception as error:
        raise GroupFailed(error, region, sale) from error


async def _read(transaction: Transaction, product_id: UUID, requests: Sequence[Request]) -> Snapshot | None:
    """What the requests are decided against; None when there is no such product."""
    order_ids: list[str] = []
    restock_ids: list[str] = []
    buyers: set[str] = set()
    for request in requests:
        if isinstance(request, RestockRequest):
            restock_ids.append(str(request.restock_id))
        elif isinstance(request, LapseRequest):
            order_ids += [str(order_id) for order_id, _ in request.orders]
            buyers.update(buyer for _, buyer in request.orders)
        else:
            order_ids.append(str(request.order_id))
            buyers.add(request.buyer)
    row = await transaction.fetchrow(_READ, product_id, order_ids, restock_ids, list(buyers))
    if row is None:
        return None
    if row["changing"]:
        raise Conflict("an operator is changing the product")
    shards = [Shard(*columns) for columns in json.loads(row["shards"])]
    orders = [_order_of(product_id, *columns) for columns in json.loads(row["orders"] or "[]")]
    bought: dict[str, tuple[int, int]] = json.loads(row["bought"] or "{}")
    restocks = {UUID(restock_id): delta for restock_id, delta in json.loads(row["restocks"] or "{}").items()}
    return Snapshot(
        now=row["now"],
        product=_with_stock(product_of(row, 0, 0, 0, len(shards)), shards),
        shards=shards,
        orders={order.id: order for order in orders},
        restocks=restocks,
        held={buyer: units for buyer, (units, _) in bought.items()} | json.loads(row["held"] or "{}"),
        to_keep=frozenset(buyer for buyer, (_, orders_read) in bought.items() if orders_read >= MANY_ORDERS),
    )


def _with_stock(product: Product, shards: Sequence[Shard]) -> Product:
    return replace(
        product,
        stock=sum(shard.stock for shard in shards),
        stocked=sum(shard.stocked for shard in shards),
        version=sum(shard.version for shard in shards),
    )


def _order_of(
    product_id: UUID,
    order_id: str,
    user_ref: str,
    quantity: int,
    status: str,
    region: str,
    created_at: str,
    held_until: str | None,
    confirmed_at: str | None,
    payment_ref: str | None,
    price: str | None,
) -> Order:
    return Order(
        UUID(order_id),
        product_id,
        user_ref,
        quantity,
        OrderStatus(status),
        region,
        datetime.fromisoformat(created_at),
        None if held_until is None else datetime.fromisoformat(held_until),
        None if confirmed_at is None else datetime.fromisoformat(confirmed_at),
        payment_ref,
        Price.of(price),
    )


async def _change_stock(transaction: Transaction, sale: Sale, own: Sequence[int]) -> list[Shard]:
    """Take the units that the sale takes from the stock, or add those that it adds. Returns the shards after that."""
    shards = list(sale.snapshot.shards)
    own = [shard % len(shards) for shard in own]  # the line may not know yet how many there are
    taken = change_stock([shard.stock for shard in shards], own, sale.units, sale.stocked)
    if sale.moves and not taken:
        taken = {own[0]: 0}  # as many units come as go; the change of a product writes all shards, and must be noticed
    if not taken:
        return shards
    # Rows are written in one order in all transactions. PostgreSQL, which has locks, would otherwise find deadlocks.
    taken = dict(sorted(taken.items()))
    stocked = {shard: sale.stocked if shard == RESTOCKED else 0 for shard in taken}
    changed = await transaction.fetch(
        _CHANGE_STOCK,
        sale.product.id,
        [str(shard) for shard in taken],
        [str(units) for units in taken.values()],
        [str(units) for units in stocked.values()],
        [str(shards[shard].version) for shard in taken],
    )
    if len(changed) != len(taken):
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("the stock changed between read and write")
    for number, units in taken.items():
        shard = shards[number]
        shards[number] = Shard(shard.stock - units, shard.stocked + stocked[number], shard.version + 1)
    assert sum(shard.stock for shard in shards) == sale.product.stock - sale.units, "units taken equal units sold"
    assert all(shard.stock >= 0 for shard in shards), "no shard goes below zero"
    return shards


async def _insert_orders(transaction: Transaction, product_id: UUID, placed: Sequence[Order]) -> None:
    if not placed:
        return
    await transaction.execute(
        _INSERT_ORDERS,
        product_id,
        transaction.region,
        placed[0].held_until,  # the product, its price and the moment are the same for all
        [str(order.id) for order in placed],
        [order.user_ref for order in placed],
        [str(order.quantity) for order in placed],
        None if placed[0].price is None else str(placed[0].price),
    )


async def _change_orders(transaction: Transaction, sale: Sale) -> None:
    if not sale.changed:
        return
    orders = [sale.changed[order_id] for order_id in sorted(sale.changed)]  # see _change_stock
    changed = await transaction.fetch(
        _CHANGE_ORDERS,
        [str(order.id) for order in orders],
        [sale.status_before(order.id).value for order in orders],
        [order.status.value for order in orders],
        [None if order.confirmed_at is None else order.confirmed_at.isoformat() for order in orders],
        [order.payment_ref for order in orders],
    )
    if len(changed) != len(orders):
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("an order was changed between read and write")


async def _insert_restocks(transaction: Transaction, product_id: UUID, restocked: Sequence[RestockRequest]) -> None:
    if not restocked:
        return
    ids, deltas = [str(restock.restock_id) for restock in restocked], [str(restock.delta) for restock in restocked]
    await transaction.execute(_INSERT_RESTOCKS, product_id, ids, deltas)


async def _write_holdings(transaction: Transaction, product_id: UUID, holdings: Mapping[str, int]) -> None:
    if not holdings:
        return
    buyers = sorted(holdings)  # see _change_stock
    await transaction.execute(_WRITE_HOLDINGS, product_id, buyers, [str(holdings[buyer]) for buyer in buyers])


async def _insert_outbox(transaction: Transaction, sale: Sale, product: Product) -> None:
    happened = outbox_entry(sale.happenings, product)
    await transaction.execute(_INSERT_OUTBOX, product.id, len(sale.happenings), sale.units, happened)
