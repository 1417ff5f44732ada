"""The storm of webhooks: servers that are killed while they sell and send, to a receiver that fails, dies and returns.

At the end the receiver has every event that is in the table, with a signature that the public library accepts, and no
other. The events are those of the orders as they are: nothing has happened without an event, and no event without it.

STORM_SEED=n repeats the choices of an earlier run. STORM_REQUESTS=5000 makes a longer storm.
"""

import asyncio
import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiohttp import web

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from tests.drops.customers import Book, Customers, new_session
from tests.drops.fleet import Fleet
from tests.drops.payers import Hold, Payers, let_holds_run_out, read_orders
from tests.drops.purchases import purchase
from tests.drops.weather import TIMES, WEATHER_OF_PROCESSES, beside, end_all_faults, make_weather, seeded
from tests.dsql.stand_in import StandIn
from tests.patience import FACTOR, PATIENCE, short, until
from tests.regions import HOME
from tests.webhooks.receiver import SECRET, Receiver, Taken, receiving

VISITS = int(os.environ.get("STORM_REQUESTS", "150"))
"""Customers who come."""

AT_A_TIME = 20
"""Customers at a time."""

SERVERS = 3
"""The first one is killed, and the two others go on with what it has left."""

SECONDS = 5 * PATIENCE + VISITS * 0.2 * FACTOR
"""Seconds until everything must be answered, and sent."""

STOCK = VISITS // 5

CREATE = "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }"

# A lease is 60 s, and a pause before the next attempt can be hours. All pauses end here, and leases that are some
# seconds old.
_PASS_TIME = """
UPDATE parcels SET due = now()
WHERE first > 0 AND due > now() AND NOT due - now() BETWEEN interval '60 s' - $1::float8 * interval '1 s' AND '60 s'
"""
_ALL_IS_SENT = """
SELECT (SELECT count(*) FROM outbox) = 0 AND (SELECT count(*) FROM parcels WHERE first > 0) = 0
    AND (SELECT last FROM parcels WHERE first = 0) = (SELECT max(position) FROM events) AS sent
"""


class Fickle:
    """How the receiver answers: by chance, and not at all while it is `dead`. `accepted` has what it has taken."""

    def __init__(self, receiver: Receiver, chance: random.Random) -> None:
        self._receiver = receiver
        self._chance = chance
        self.dead = False
        self.accepted: list[Taken] = []
        self.refused = Counter[str]()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        taken = self._receiver.taken[-1]
        how = "dead" if self.dead else self._chance.choices(["take", "fail", "reset", "forget"], [80, 10, 5, 5])[0]
        if how in ("take", "forget"):
            self.accepted.append(taken)
        else:
            self.refused[how] += 1
        if how in ("dead", "reset", "forget"):  # a receiver that forgets has taken the event, and does not answer
            assert request.transport is not None
            request.transport.close()
        return web.Response(status=503 if how == "fail" else 204)

    async def die_again_and_again(self) -> None:
        """Die after every few events, and return after every few tries; until cancelled."""
        while True:
            for self.dead, most in ((False, 30), (True, 60)):  # it dies again while it gets what has waited
                enough = len(self._receiver.taken) + self._chance.randint(5, most)
                with suppress(TimeoutError):
                    await until(lambda enough=enough: len(self._receiver.taken) >= enough, timeout=short(3))  # type: ignore[misc]


async def pass_time(behind: Pool) -> None:
    """Let leases of killed servers and pauses run out, until cancelled."""
    while True:
        await behind.execute(_PASS_TIME, short(3.0))
        await asyncio.sleep(short(0.3))


async def until_all_is_sent(behind: Pool) -> None:
    async def all_is_sent() -> bool:
        return bool((await behind.fetch(_ALL_IS_SENT))[0]["sent"])

    await until(all_is_sent, timeout=SECONDS)


async def visit(customers: Customers, payers: Payers, book: Book, chance: random.Random, number: int) -> None:
    """What one customer does: restock, or hold and go one of the ways."""
    key = f"click-{number}"
    if number % 12 == 0:
        await customers.restock(book, chance.choice([1, 2, 3]), key)
        return
    hold = await payers.hold(book, purchase(UUID(book.product_id), f"buyer-{number}", 1, key), key)
    if hold is not None:
        await payers.go(hold, clicks=1)


async def kill_one(fleet: Fleet, home: StandIn, receiver: Receiver) -> None:
    """Kill a server while a COMMIT is in flight, when it has begun to send. No other takes its place."""
    await until(lambda: len(receiver.taken) >= VISITS // 2, timeout=SECONDS)
    home.commit_latency = 0.05
    home.commit_arrived.clear()
    await asyncio.wait_for(home.commit_arrived.wait(), PATIENCE)
    await fleet.kill(0)
    home.commit_latency = 0.0


async def new_book(customers: Customers) -> Book:
    """Create the product, whose holds are longer than the storm."""
    wanted = {"name": "Tee", "dropName": "First Light", "stock": STOCK, "holdSeconds": 86_400}
    reply = await customers.until_answered(CREATE, {"input": wanted | {"idempotencyKey": "tee"}})
    return Book(reply.value["id"], STOCK, None)


@pytest.mark.slow
@pytest.mark.timeout(2 * SECONDS + 3 * PATIENCE)
async def test_every_event_is_received_and_none_that_did_not_happen(
    tmp_path: Path, home: StandIn, peer: StandIn, behind: Pool, tokens: AuthTokens
) -> None:
    chance = seeded()
    numbers = iter(range(VISITS))
    async with receiving() as receiver, new_session() as session:
        fickle = Fickle(receiver, chance)
        receiver.answer = fickle.answer
        webhook = {"DROPZERO_WEBHOOK_URL": receiver.url, "DROPZERO_WEBHOOK_SECRET": SECRET}
        async with (
            Fleet(tmp_path, SERVERS, home, peer, chance, **webhook, DROPZERO_WEBHOOK_PRIVATE="on") as fleet,
            Pool(Endpoint(HOME, home.url), 2, tokens, TIMES.pool) as clock,
        ):
            customers = Customers(fleet, session, chance)
            payers = Payers(customers, chance)
            book = await new_book(customers)

            async def customer() -> None:
                for number in numbers:
                    await visit(customers, payers, book, chance, number)

            async with beside(pass_time(behind)):
                async with (
                    beside(
                        make_weather(chance, [home, peer], WEATHER_OF_PROCESSES),
                        let_holds_run_out(clock, payers, SECONDS),
                        fickle.die_again_and_again(),
                    ),
                    asyncio.timeout(SECONDS),
                    asyncio.TaskGroup() as tasks,
                ):
                    tasks.create_task(kill_one(fleet, home, receiver))
                    for _ in range(AT_A_TIME):
                        tasks.create_task(customer())
                fickle.dead = False
                await end_all_faults([home, peer])
                await until_all_is_sent(behind)
            orders = await read_orders(customers, book.product_id)

    print(f"received {len(receiver.taken)}; refused {fickle.refused}; replies: {customers.replies}")  # noqa: T201
    assert fleet.tracebacks == 0
    received = await received_events(fickle, receiver, behind)
    assert_events_are_what_happened(received, orders, payers.holds)
    deltas = [data["delta"] for type_, data in received if type_ == "product.restocked"]
    assert sum(deltas) == book.restocked
    assert {type_ for type_, _ in received} >= {
        f"order.{what}" for what in ("held", "confirmed", "cancelled", "lapsed")
    }
    assert fickle.refused.keys() == {"dead", "fail", "reset"}


async def received_events(fickle: Fickle, receiver: Receiver, behind: Pool) -> list[tuple[str, dict[str, Any]]]:
    """The types and the data of the events that the receiver has taken, each once, in the order of their positions."""
    rows = await behind.fetch("SELECT position, id, type, data FROM events ORDER BY position")
    stored = {str(row["id"]): (row["type"], json.loads(row["data"])) for row in rows}
    assert [row["position"] for row in rows] == list(range(1, len(rows) + 1)), "positions have a gap"
    assert len(stored) == len(rows), "an event has two positions"
    for taken in receiver.taken:
        body = taken.verify()
        assert isinstance(body, dict)
        assert (body["type"], body["data"]) == stored[taken.headers["webhook-id"]], "it did not happen, or otherwise"
    assert {taken.headers["webhook-id"] for taken in fickle.accepted} == stored.keys(), "an event was never received"
    return list(stored.values())


def assert_events_are_what_happened(
    received: list[tuple[str, dict[str, Any]]], orders: Mapping[UUID, dict[str, Any]], holds: Mapping[UUID, Hold]
) -> None:
    """The events of each order are those of its life, and the last one has the order as it is."""
    of_order: dict[UUID, list[tuple[str, dict[str, Any]]]] = {order_id: [] for order_id in orders}
    for type_, data in received:
        if type_.startswith("order."):
            of_order[UUID(data["order"]["id"])].append((type_, data["order"]))
    for order_id, events in of_order.items():
        order, types = orders[order_id], [type_ for type_, _ in events]
        assert types[0] == "order.held"
        assert max(Counter(types).values()) == 1, "something happened twice"
        assert ("order.confirmed" in types) == (order["confirmedAt"] is not None)
        assert ("order.cancelled" in types) == (order["status"] == "CANCELLED")
        lapsed = order["status"] == "LAPSED" or holds[order_id].lapsed is not None
        assert "order.lapsed" in types or not lapsed
        assert "order.lapsed" not in types or holds[order_id].ran_out is not None
        last = events[-1][1]
        assert (last["status"], last["userRef"], last["quantity"]) == (order["status"], order["userRef"], 1)
        assert last["paymentRef"] == order["paymentRef"] or order["status"] == "LAPSED"
        assert (last["heldUntil"] is not None) == (order["heldUntil"] is not None)
    assert list(itertools.chain(*of_order.values())) != []
