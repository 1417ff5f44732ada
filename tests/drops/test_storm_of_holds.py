"""The storm of holds: servers that are killed while customers hold, pay, release and cancel, and while holds run out.

Payments come in time, too late, twice, and at the moment of a release or a lapse. At the end every order is compared
with everything that was answered about it: no payment is both refused and kept, none is lost, and no unit was returned
twice or never.

STORM_SEED=n repeats the choices of an earlier run. STORM_REQUESTS=20000 makes a longer storm.
"""

import asyncio
import itertools
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.audit import audit
from tests.command import dropzero
from tests.drops.customers import Book, Customers, new_session
from tests.drops.fleet import Fleet
from tests.drops.ledger import NEVER
from tests.drops.payers import Payers, assert_answers_are_true, enter_changes, let_holds_run_out, read_orders
from tests.drops.purchases import purchase
from tests.drops.weather import (
    TIMES,
    WEATHER_OF_PROCESSES,
    audit_again_and_again,
    beside,
    end_all_faults,
    make_weather,
    seeded,
)
from tests.dsql.stand_in import StandIn
from tests.patience import FACTOR, PATIENCE, until
from tests.regions import HOME

VISITS = int(os.environ.get("STORM_REQUESTS", "400"))
"""Customers who come, at least. They go on until every server that was killed is up again."""

AT_A_TIME = 40
"""Customers at a time."""

SERVERS, KILLS = 3, 2
"""One server stays up, however long the others take to start again."""

SECONDS = 5 * PATIENCE + VISITS * 0.1 * FACTOR
"""Seconds until everything must be answered."""

PRODUCTS: list[dict[str, Any]] = [
    {"stock": VISITS // 40},
    {"stock": VISITS // 10, "shards": 4},
    {"stock": VISITS // 10, "limitPerBuyer": 3},
    {"stock": 1_000_000, "limitPerBuyer": 2, "shards": 1},
]
"""The input of createProduct, but for the names: drops that sell out early and late, with a limit and without, and one
that never sells out."""

PLENTY = 100_000
"""A drop with more units never sells out."""

REGULARS = VISITS // 20
"""Buyers who come again and again for the drops with a limit."""

CREATE = "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }"


async def new_books(customers: Customers) -> list[Book]:
    """Create the products, and open a book for each. Their holds are longer than any storm."""
    books = []
    for number, product in enumerate(PRODUCTS):
        wanted = {"name": f"Tee {number}", "dropName": "First Light", "holdSeconds": 86_400, **product}
        reply = await customers.until_answered(CREATE, {"input": {**wanted, "idempotencyKey": f"tee-{number}"}})
        books.append(Book(reply.value["id"], product["stock"], product.get("limitPerBuyer")))
    return books


async def visit(customers: Customers, payers: Payers, book: Book, chance: random.Random, number: int) -> None:
    """What one customer does: restock, or hold and go one of the ways. Many send each request twice at once."""
    clicks = chance.choice([1, 1, 2])
    key = f"click-{number}"
    if book.opening < PLENTY and chance.random() < 0.15:
        await customers.restock(book, chance.choice([-5, -2, -1, 1, 2, 3]), key, clicks=clicks)
        return
    buyer = f"buyer-{number if book.limit is None else chance.randrange(REGULARS)}"
    wanted = purchase(UUID(book.product_id), buyer, chance.choice([1, 1, 1, 2, 3]), key)
    once = number % 8 == 0
    hold = await payers.hold(book, wanted, key, clicks=1 if once else clicks, once=once)
    if hold is not None:
        await payers.go(hold, clicks)
        if chance.random() < 0.3:
            await payers.replay(hold)


async def kill_servers(fleet: Fleet, endpoints: list[StandIn], payers: Payers) -> None:
    """Kill one server after the other, each while a COMMIT is in flight, and start another process in its place."""
    async with asyncio.TaskGroup() as starting:
        for kill in range(KILLS):
            enough = VISITS * (kill + 1) // (2 * (KILLS + 1))
            await until(lambda enough=enough: len(payers.holds) >= enough, timeout=SECONDS)  # type: ignore[misc]
            for endpoint in endpoints:
                endpoint.commit_latency = 0.05
                endpoint.commit_arrived.clear()
            await asyncio.wait_for(endpoints[kill % 2].commit_arrived.wait(), PATIENCE)
            await fleet.kill(kill)
            for endpoint in endpoints:
                endpoint.commit_latency = 0.0
            starting.create_task(fleet.start(kill))


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 3 * PATIENCE)
async def test_every_hold_ends_once_and_every_payment_is_kept_or_refused(
    tmp_path: Path, home: StandIn, peer: StandIn, behind: Pool, tokens: AuthTokens
) -> None:
    chance = seeded()
    audits = list[bool]()
    numbers = itertools.count()
    endpoints = [home, peer]

    async with (
        Fleet(tmp_path, SERVERS, home, peer, chance) as fleet,
        new_session() as session,
        Pool(Endpoint(HOME, home.url), 2, tokens, TIMES.pool) as clock,
    ):
        customers = Customers(fleet, session, chance)
        payers = Payers(customers, chance)
        books = await new_books(customers)

        async def customer(killing: asyncio.Task[None]) -> None:
            for number in numbers:
                if number >= VISITS and killing.done():
                    return
                await visit(customers, payers, chance.choice(books), chance, number)

        async with beside(
            make_weather(chance, endpoints, WEATHER_OF_PROCESSES),
            audit_again_and_again(behind, audits),
            let_holds_run_out(clock, payers, SECONDS),
        ):
            async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(kill_servers(fleet, endpoints, payers))
                for _ in range(AT_A_TIME):
                    tasks.create_task(customer(killing))
            await until(lambda: len(audits) > 3)
        await end_all_faults(endpoints)
        await until_none_is_due(behind)
        print(f"{len(audits)} audits; replies: {customers.replies}")  # noqa: T201
        orders = [await read_orders(customers, book.product_id) for book in books]
        audited = await dropzero("audit", **fleet.variables(0))

    assert all(audits)
    assert fleet.tracebacks == 0
    assert audited.status == 0, audited
    for book, of_book in zip(books, orders, strict=True):
        assert_orders_are_those_held(book, of_book, payers)
        assert_refusals_are_true(book)
    await assert_books_are_exact(behind, books, orders)
    kinds = {"HELD", "LAPSED", "CANCELLED", "OrderConfirmed", "OrderGone", "ALREADY_CONFIRMED", "SOLD_OUT", "LOST"}
    assert customers.replies.keys() >= kinds | {"LIMIT_REACHED"}


async def until_none_is_due(behind: Pool) -> None:
    """Wait until the servers have ended every hold that has run out."""

    async def none_is_due() -> bool:
        return await behind.fetch("SELECT FROM orders WHERE held_until <= now() LIMIT 1") == []

    await until(none_is_due)


def assert_orders_are_those_held(book: Book, orders: dict[UUID, dict[str, Any]], payers: Payers) -> None:
    """Every buyer with an answer has the order of that answer, and there is no other order. Each is as was answered."""
    assert book.confirmed.keys() <= orders.keys(), "held without an order"
    assert orders.keys() <= book.confirmed.keys() | book.uncertain.keys(), "an order that was answered to nobody"
    assert max(book.new.values(), default=0) <= 1, "two requests were answered that the same order was new"
    for order_id, order in orders.items():
        wanted, begun = book.uncertain.get(order_id) or (book.confirmed[order_id], 0.0)
        assert (order["userRef"], order["quantity"]) == (wanted.user_ref, wanted.quantity)
        if order_id not in book.confirmed:
            assert order["status"] == "HELD", "nobody has changed it"
            book.changed(wanted.user_ref, -wanted.quantity, begun, NEVER)
        else:
            assert_answers_are_true(payers.holds[order_id], order)
            enter_changes(payers.holds[order_id], order)


async def assert_books_are_exact(behind: Pool, books: list[Book], orders: list[dict[UUID, dict[str, Any]]]) -> None:
    """Every unit is in stock, held or sold, every restock counts once, and no buyer has more than the limit."""
    lines = {str(line.product_id): line for line in await audit(behind)}
    for book, of_book in zip(books, orders, strict=True):
        line, units, had = lines[book.product_id], Counter[str](), Counter[str]()
        for order in of_book.values():
            units[order["status"]] += order["quantity"]
            had[order["userRef"]] += order["quantity"] if order["status"] in ("HELD", "CONFIRMED") else 0
        assert line.stocked == book.opening + book.restocked, "a restock was lost, or counted twice"
        assert (line.held, line.sold) == (units["HELD"], units["CONFIRMED"])
        assert line.stock == line.stocked - line.held - line.sold >= 0, "oversold or lost"
        assert book.limit is None or max(had.values()) <= book.limit


def assert_refusals_are_true(book: Book) -> None:
    """No answer says sold out while there were units for certain, or limit reached for a buyer below the limit. At no
    moment did a buyer have more than the limit, or were more units held and sold than there were."""
    for ledger in (book.stock, *book.limits.values()):
        assert ledger.false_refusals() == [], "refused while there were enough units"
        assert not ledger.overdrawn, "more units than there were"
    assert book.opening < PLENTY or not book.stock.refusals
