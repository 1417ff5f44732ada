"""Groups of requests at random, against a plain model of an order's life.

Hypothesis makes the groups and shortens those that fail. They are decided twice: by the `Sale` alone, with a store in
memory that applies what it writes, and by whole transactions in the database.

ORDER_LIFE_EXAMPLES=2000 makes more lives, other ones each time. By default each run makes the same.
"""

import asyncio
import os
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from api.database.pool import Pool
from api.drops.decisions import Decision
from api.drops.errors import DropError
from api.drops.orders import SELECT_ORDERS, Order, order_of
from api.drops.products import Product
from api.drops.purchase import execute_group
from api.drops.requests import (
    CancelRequest,
    ConfirmRequest,
    LapseRequest,
    ReleaseRequest,
    Request,
    RestockRequest,
)
from api.drops.sale import Sale, Snapshot
from api.drops.shards import Shard
from tests.drops.happened import read_outbox
from tests.drops.order_model import Model, assert_units_are_somewhere, verdict
from tests.drops.purchases import new_product, purchase
from tests.patience import PATIENCE

EXAMPLES = int(os.environ.get("ORDER_LIFE_EXAMPLES", "100"))

KEYS = [(buyer, f"click-{number}") for buyer in ("ada", "bob") for number in range(3)]
"""The buyers and the keys of their purchases: few, so that requests meet the same orders again and again."""

ORDERS = st.sampled_from(KEYS)
BUYING = st.tuples(st.just("buy"), ORDERS, st.sampled_from([1, 1, 1, 2]))
PAYING = st.tuples(st.just("pay"), ORDERS, st.sampled_from(["pi_1", "pi_1", "pi_2"]))
ENDING = st.tuples(st.sampled_from(["cancel", "release"]), ORDERS, st.sampled_from([None, "ada", "bob"]))
LAPSING = st.tuples(st.just("lapse"), st.lists(ORDERS, min_size=1, max_size=6), st.none())
RESTOCKING = st.tuples(st.just("restock"), st.sampled_from(["a", "b", "c"]), st.sampled_from([-2, -1, 1, 2]))
GROUPS = st.lists(st.one_of(BUYING, BUYING, PAYING, PAYING, ENDING, LAPSING, LAPSING, RESTOCKING), max_size=6)

ALWAYS = {
    *("Replayed", "Cancelled", "SoldOut", "LimitReached", "Cancellation", "Gone", "Lapsed", "Restocked"),
    *("NotFound", "AlreadyConfirmed", "IdempotencyKeyReused", "InvalidInput"),
}
SEEN = {True: ALWAYS | {"Held", "Paid"}, False: ALWAYS | {"Confirmed"}}
"""Every decision that a group can come to, for products with holds and for others. The lives are worth making only if
all of them occur."""

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


NewStore: TypeAlias = Callable[[int, int | None, bool], Store]
"""Opens a store with so many units, a limit per buyer or none, with holds or without."""


def requests_of(store: Store, group: Sequence[tuple[str, Any, Any]]) -> list[Request]:
    """The requests that hypothesis has chosen, for the orders of this store."""
    product_id = store.product_id

    def order_id(buyer: str, key: str) -> UUID:
        return purchase(product_id, buyer, key=key).order_id

    requests: list[Request] = []
    for kind, about, more in group:
        match kind:
            case "buy":
                requests.append(purchase(product_id, about[0], more, about[1]))
            case "pay":
                requests.append(ConfirmRequest(order_id(*about), product_id, about[0], more))
            case "cancel":
                requests.append(CancelRequest(order_id(*about), product_id, about[0], more))
            case "release":
                requests.append(ReleaseRequest(order_id(*about), product_id, about[0], more))
            case "lapse":
                requests.append(LapseRequest(product_id, tuple((order_id(*each), each[0]) for each in about)))
            case "restock":
                requests.append(RestockRequest.checked(product_id=product_id, delta=more, idempotency_key=about))
    return requests


class OrderLife(RuleBasedStateMachine):
    """The store and the model get the same groups."""

    def __init__(self, new_store: NewStore, holds: bool, seen: Counter[str]) -> None:
        """`seen` counts the decisions of all lives."""
        super().__init__()
        self.new_store, self.holds = new_store, holds
        self.seen = seen

    @initialize(stock=st.integers(1, 6), limit=st.sampled_from([None, None, 2]))
    def open(self, stock: int, limit: int | None) -> None:
        self.store = self.new_store(stock, limit, self.holds)
        self.model = Model(stock, limit, self.holds)
        self.refused: set[tuple[UUID, str]] = set()
        """Payments that were answered with a refusal."""
        self.bought: set[UUID] = set()
        self.gone: set[UUID] = set()

    @rule(group=GROUPS)
    def commit(self, group: list[Any]) -> None:
        requests = requests_of(self.store, group)
        decisions = self.store.commit(requests)
        assert [verdict(each) for each in decisions] == [self.model.answer(each) for each in requests]
        for request, decision in zip(requests, decisions, strict=True):
            self.note(request, decision)

    @rule(group=GROUPS)
    def lose(self, group: list[Any]) -> None:
        """What is answered although the transaction failed is what the request is answered when it is sent again."""
        requests = requests_of(self.store, group)
        for position, decision in self.store.lose(requests).items():
            self.note(requests[position], decision)
            assert verdict(self.store.commit([requests[position]])[0]) == verdict(decision)
            assert self.model.answer(requests[position]) == verdict(decision)

    @rule(orders=st.lists(ORDERS, min_size=1))
    def run_out(self, orders: list[tuple[str, str]]) -> None:
        order_ids = [purchase(self.store.product_id, buyer, key=key).order_id for buyer, key in orders]
        self.store.run_out(order_ids)
        for order_id in order_ids:
            self.model.run_out(order_id)

    def note(self, request: Request, decision: Decision | DropError) -> None:
        """Hold an answer against those before it."""
        name = type(decision).__name__
        self.seen[name] += 1
        if name in ("Held", "Confirmed"):
            [order_id] = request.row_ids
            assert order_id not in self.bought, "one key has bought twice"
            self.bought.add(order_id)
        if isinstance(request, ConfirmRequest):
            payment = request.order_id, request.payment_ref
            if name in ("Gone", "AlreadyConfirmed"):
                self.refused.add(payment)
            if name == "Gone":
                self.gone.add(request.order_id)
            assert name != "Paid" or payment not in self.refused, "a payment was refused, and then kept"

    @invariant()
    def agree(self) -> None:
        """The store has what the model has, and no unit is in two places or in none."""
        orders, model = self.store.orders, self.model
        assert self.store.stock == (model.stock, model.stocked)
        assert orders.keys() == model.orders.keys()
        for order_id, order in orders.items():
            twin = model.orders[order_id]
            assert (order.user_ref, order.quantity, order.status.value) == (twin.buyer, twin.quantity, twin.status)
            assert (order.held_until is not None) == (twin.status == "HELD")
            assert order.payment_ref == twin.payment or order.status.value == "LAPSED"
            assert order_id not in self.gone or not order.status.has_units, "an order that was gone is back"
            kept = order.status.value == "CONFIRMED" and (order_id, order.payment_ref) in self.refused
            assert not kept, "a payment was refused and kept"
        assert self.store.events == model.events
        assert_units_are_somewhere(model, self.store.holdings)


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
        product = Product(
            self.product_id,
            "Tee",
            "First Light",
            None,
            self._limit,
            self._hold_seconds,
            self._now,
            stock,
            stocked,
            1,
            1,
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


def live(new_store: NewStore, holds: bool, examples: int, steps: int) -> None:
    """Run so many lives of so many groups. Every decision must occur."""
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        derandomize="ORDER_LIFE_EXAMPLES" not in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    seen = Counter[str]()
    life = partial(OrderLife, new_store, holds, seen)
    run_state_machine_as_test(life, settings=settings)  # type: ignore[arg-type]
    assert seen.keys() == SEEN[holds], seen.keys() ^ SEEN[holds]


with_holds_or_not = pytest.mark.parametrize("holds", [True, False], ids=["with holds", "final at once"])


@with_holds_or_not
def test_a_sale_decides_as_the_plain_model_does(holds: bool) -> None:
    live(Memory, holds, EXAMPLES, steps=40)


@with_holds_or_not
async def test_the_database_decides_as_the_plain_model_does(pool: Pool, holds: bool) -> None:
    new_store = partial(Tables, pool, asyncio.get_running_loop())
    await asyncio.to_thread(live, new_store, holds, max(10, EXAMPLES // 5), steps=30)
