"""Groups of requests at random, against a plain model of an order's life.

Hypothesis makes the groups and shortens those that fail. They are decided twice: by the `Sale` alone, with a store in
memory that applies what it writes, and by whole transactions in the database.

ORDER_LIFE_EXAMPLES=2000 makes more lives, other ones each time. By default each run makes the same.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

import hypothesis
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from api.database.pool import Pool
from api.drops.decisions import Decision
from api.drops.errors import DropError
from api.drops.requests import (
    CancelRequest,
    ConfirmRequest,
    LapseRequest,
    ReleaseRequest,
    Request,
    RestockRequest,
)
from tests.drops.order_model import Model, assert_units_are_somewhere, verdict
from tests.drops.order_stores import Memory, Store, Tables
from tests.drops.purchases import purchase

EXAMPLES = int(os.environ.get("ORDER_LIFE_EXAMPLES", "100"))

KEYS = [(buyer, f"click-{number}") for buyer in ("ada", "bob") for number in range(3)]
"""The buyers and the keys of their purchases: few, so that requests meet the same orders again and again."""

ORDERS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=4)

ACTIONS = {"buy": 30, "pay": 25, "cancel": 7, "release": 7, "lapse": 8, "restock": 6}
"""What is requested, and how often."""

Action = tuple[str, Any, Any]
"""The name of an action, what it is about, and a value that it needs."""


def group_from(seed: int) -> list[Action]:
    """The actions of one group. Chosen one by one by hypothesis, most would be the same few."""
    chance = random.Random(seed)  # noqa: S311
    group: list[Action] = []
    for kind in chance.choices(list(ACTIONS), list(ACTIONS.values()), k=chance.randint(1, 8)):
        match kind:
            case "buy":
                group.append((kind, chance.choice(KEYS), chance.choice([1, 1, 1, 1, 1, 2])))
            case "pay":
                group.append((kind, chance.choice(KEYS), chance.choice(["pi_1", "pi_1", "pi_2"])))
            case "cancel" | "release":
                group.append((kind, chance.choice(KEYS), chance.choice([None, None, "ada", "bob"])))
            case "lapse":
                group.append((kind, chance.choices(KEYS, k=3), None))
            case "restock":
                group.append((kind, chance.choice("abcd"), chance.choice([-2, -1, 1, 2])))
    return group


GROUPS = st.integers(0, 2**32).map(group_from)

ALWAYS = {
    *("Replayed CONFIRMED", "Cancelled CANCELLED", "SoldOut", "LimitReached", "Cancellation CANCELLED", "NotFound"),
    *("Gone CANCELLED", "Lapsed", "Restocked", "AlreadyConfirmed", "IdempotencyKeyReused", "InvalidInput"),
}
OF_HOLDS = {
    *("Held", "Replayed HELD", "Cancelled LAPSED", "Cancellation CONFIRMED", "Cancellation LAPSED", "Paid CONFIRMED"),
    "Gone LAPSED",
}
SEEN = {True: ALWAYS | OF_HOLDS, False: ALWAYS | {"Confirmed", "Cancellation CONFIRMED"}}
"""Every decision that a group can come to, with the status of an order that it found, for products with holds and for
others. The lives are worth making only if all of them occur."""

NewStore: TypeAlias = Callable[[int, int | None, bool], Store]
"""Opens a store with so many units, a limit per buyer or none, with holds or without."""


def requests_of(store: Store, group: Sequence[Action]) -> list[Request]:
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

    @initialize(scarce=st.sampled_from([(1, None), (2, None), (3, None), (9, 2), (9, 3)]))
    def open(self, scarce: tuple[int, int | None]) -> None:
        """Either the stock or the limit per buyer is what buyers lack."""
        stock, limit = scarce
        self.store = self.new_store(stock, limit, self.holds)
        self.model = Model(stock, limit, self.holds)
        self.refused: set[tuple[UUID, str]] = set()
        """Payments that were answered with a refusal."""
        self.bought: set[UUID] = set()
        self.gone: set[UUID] = set()

    @rule(group=GROUPS)
    def commit(self, group: list[Action]) -> None:
        requests = requests_of(self.store, group)
        decisions = self.store.commit(requests)
        assert [verdict(each) for each in decisions] == [self.model.answer(each) for each in requests]
        for request, decision in zip(requests, decisions, strict=True):
            self.note(request, decision)

    @rule(group=GROUPS)
    def lose(self, group: list[Action]) -> None:
        """What is answered although the transaction failed is what the request is answered when it is sent again."""
        requests = requests_of(self.store, group)
        for position, decision in self.store.lose(requests).items():
            self.note(requests[position], decision)
            assert verdict(self.store.commit([requests[position]])[0]) == verdict(decision)
            assert self.model.answer(requests[position]) == verdict(decision)

    @rule(orders=ORDERS)
    def lapse(self, orders: list[tuple[str, str]]) -> None:
        """What runs out lapses at once, most of the time."""
        self.run_out(orders)
        self.commit([("lapse", orders, None)])

    @rule(orders=ORDERS)
    def run_out(self, orders: list[tuple[str, str]]) -> None:
        order_ids = [purchase(self.store.product_id, buyer, key=key).order_id for buyer, key in orders]
        self.store.run_out(order_ids)
        for order_id in order_ids:
            self.model.run_out(order_id)

    def note(self, request: Request, decision: Decision | DropError) -> None:
        """Hold an answer against those before it."""
        name = type(decision).__name__
        found = getattr(decision, "order", None) if name not in ("Held", "Confirmed") else None
        self.seen[name if found is None else f"{name} {found.status.value}"] += 1
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
            if twin.refused:
                assert order.payment_ref is not None, "the next payment would be kept"
            else:
                assert order.payment_ref == twin.payment
            assert order_id not in self.gone or not order.status.has_units, "an order that was gone is back"
            kept = order.status.value == "CONFIRMED" and (order_id, order.payment_ref) in self.refused
            assert not kept, "a payment was refused and kept"
        assert self.store.events == model.events
        assert_units_are_somewhere(model, self.store.holdings)


def live(new_store: NewStore, holds: bool, examples: int, steps: int) -> Counter[str]:
    """Run so many lives of so many groups. Returns how often each decision has occurred."""
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
    return seen


with_holds_or_not = pytest.mark.parametrize("holds", [True, False], ids=["with holds", "final at once"])


@with_holds_or_not
def test_a_sale_decides_as_the_plain_model_does(holds: bool) -> None:
    seen = live(Memory, holds, EXAMPLES, steps=40)
    assert seen.keys() == SEEN[holds], seen.keys() ^ SEEN[holds]


@with_holds_or_not
async def test_the_database_decides_as_the_plain_model_does(pool: Pool, holds: bool) -> None:
    new_store = partial(Tables, pool, asyncio.get_running_loop())
    seen = await asyncio.to_thread(live, new_store, holds, EXAMPLES // 4, steps=30)
    assert seen.keys() <= SEEN[holds]
    assert (seen["Paid CONFIRMED"] > 0) == holds
