"""Where the property tests keep the orders of one product: in memory, with what a `Sale` writes, or in the database."""

import asyncio
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from api.database.pool import Pool
from api.drops.decisions import Decision
from api.drops.errors import DropError
from api.drops.orders import SELECT_ORDERS, Order, order_of
from api.drops.purchase import execute_group
from api.drops.requests import Request
from api.drops.sale import Sale, Snapshot
from api.drops.shards import Shard
from tests.drops.outbox import read_outbox
from tests.drops.purchases import new_product
from tests.patience import PATIENCE
from tests.product_rows import new_product_row

Answers = list[Decision | DropError]
R = TypeVar("R")


class Store(Protocol):
    """Where the orders of one product are kept. `orders` and `holdings` are as they are now."""

    product_id: UUID

    def commit(self, requests: Sequence[Request]) -> Answers:
        """Decide a group, and keep what it does."""

    def lose(self, requests: Sequence[Request]) -> Mapping[int, Decision | DropError]:
        """Decide a group whose transaction fails. Returns the decisions, by position, that are answered all the
        same."""

    def run_out(self, order_ids: Sequence[UUID]) -> None:
        """The time to pay of these orders is over."""

    @property
    def orders(self) -> Mapping[UUID, Order]: ...

    @property
    def holdings(self) -> Mapping[str, int]: ...

    @property
    def stock(self) -> tuple[int, int]:
        """The units in stock, and those ever put in."""

    @property
    def events(self) -> list[tuple[str, UUID | None]]: ...


class Memory:
    """Applies what a `Sale` writes, as the statements of a transaction do."""

    product_id = uuid.uuid5(uuid.NAMESPACE_URL, "a product in memory")

    def __init__(self, stock: int, limit: int | None, holds: bool) -> None:
        self._now = datetime(2026, 11, 27, tzinfo=UTC)
        self._limit, self._hold_seconds = limit, 30 if holds else None
        self.stock = stock, stock
        self.orders: dict[UUID, Order] = {}
        self.holdings: dict[str, int] = {}
        self.events: list[tuple[str, UUID | None]] = []
        self._restocks: dict[UUID, int] = {}

    def _decided(self, requests: Sequence[Request]) -> Sale:
        self._now += timedelta(microseconds=1)
        stock, stocked = self.stock
        product = new_product_row(
            id=self.product_id,
            limit_per_buyer=self._limit,
            hold_seconds=self._hold_seconds,
            created_at=self._now,
            stock=stock,
            stocked=stocked,
            shards=1,
        )
        shards = [Shard(stock, stocked, 1)]
        held = {} if self._limit is None else self.holdings
        sale = Sale(Snapshot(self._now, product, shards, dict(self.orders), dict(self._restocks), dict(held)), "here")
        for request in requests:
            sale.decide(request)
        return sale

    def lose(self, requests: Sequence[Request]) -> Mapping[int, Decision | DropError]:
        return self._decided(requests).settled

    def commit(self, requests: Sequence[Request]) -> Answers:
        sale = self._decided(requests)
        if not sale.written:
            assert not sale.happenings
            return sale.decisions
        stock, stocked = self.stock
        self.stock = stock - sale.units, stocked + sale.stocked
        for order in sale.placed:
            assert order.id not in self.orders
            self.orders[order.id] = order
        for order_id, order in sale.changed.items():
            assert self.orders[order_id].status is sale.status_before(order_id)
            self.orders[order_id] = order
        self.holdings |= sale.holdings
        self._restocks |= {restock.restock_id: restock.delta for restock in sale.restocked}
        self.events += [(each.type.value, None if each.order is None else each.order.id) for each in sale.happenings]
        return sale.decisions

    def run_out(self, order_ids: Sequence[UUID]) -> None:
        for order_id in order_ids:
            order = self.orders.get(order_id)
            if order is not None and order.held_until is not None:
                self.orders[order_id] = replace(order, held_until=self._now)


class Tables:
    """Whole transactions in the database. Its methods are called in a thread, and run in the event loop of the test."""

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop, stock: int, limit: int | None, holds: bool) -> None:
        self._pool, self._loop = pool, loop
        self.product_id = self._run(new_product(pool, stock, limit=limit, shards=2, hold_seconds=30 if holds else None))

    def _run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    def commit(self, requests: Sequence[Request]) -> Answers:
        execution = execute_group(self._pool, self.product_id, requests, [1], PATIENCE, keep_events=True)
        return self._run(execution).decisions

    def lose(self, requests: Sequence[Request]) -> Mapping[int, Decision | DropError]:
        return {}  # the tests of lost COMMITs do this in the database

    def run_out(self, order_ids: Sequence[UUID]) -> None:
        query = "UPDATE orders SET held_until = now() WHERE id = ANY($1::uuid[]) AND held_until IS NOT NULL"
        self._run(self._pool.execute(query, order_ids))

    @property
    def orders(self) -> Mapping[UUID, Order]:
        rows = self._run(self._pool.fetch(f"{SELECT_ORDERS} WHERE product_id = $1", self.product_id))
        return {order.id: order for order in map(order_of, rows)}

    @property
    def holdings(self) -> Mapping[str, int]:
        query = "SELECT user_ref, units FROM holdings WHERE product_id = $1"
        return {row["user_ref"]: row["units"] for row in self._run(self._pool.fetch(query, self.product_id))}

    @property
    def stock(self) -> tuple[int, int]:
        query = "SELECT sum(stock)::int AS stock, sum(stocked)::int AS stocked FROM stock_shards WHERE product_id = $1"
        [row] = self._run(self._pool.fetch(query, self.product_id))
        return row["stock"], row["stocked"]

    @property
    def events(self) -> list[tuple[str, UUID | None]]:
        happened = self._run(read_outbox(self._pool, self.product_id))
        return [(each.type, each.order_id) for each in happened]
