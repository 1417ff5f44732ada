"""The storm of processes: four servers sell through two Regions, and are killed while they sell.

Buyers purchase, cancel and click twice. The operator adds and removes units. Who gets no answer sends the same request
to another server. At the end the orders and the books are compared with everything that was answered.

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

from api.database.pool import Pool
from api.drops.audit import AuditLine, audit
from tests.command import dropzero
from tests.drops.customers import Book, Customers, new_session
from tests.drops.fleet import Fleet
from tests.drops.ledger import NEVER
from tests.drops.purchases import purchase
from tests.drops.weather import (
    WEATHER_OF_PROCESSES,
    audit_again_and_again,
    beside,
    end_all_faults,
    make_weather,
    seeded,
)
from tests.dsql.stand_in import StandIn
from tests.patience import FACTOR, PATIENCE, until

REQUESTS = int(os.environ.get("STORM_REQUESTS", "1000"))
"""What customers want in all, at least. They go on until every server that was killed is up again."""

CUSTOMERS = 40
"""Customers at a time."""

SERVERS, KILLS = 4, 3
"""One server stays up, however long the others take to start again."""

SECONDS = 5 * PATIENCE + REQUESTS * 0.06 * FACTOR
"""Seconds until everything must be answered."""

PRODUCTS: list[dict[str, Any]] = [
    {"stock": REQUESTS // 50},
    {"stock": REQUESTS // 5, "shards": 4},
    {"stock": REQUESTS // 10, "limitPerBuyer": 3},
    {"stock": 1_000_000, "limitPerBuyer": 2, "shards": 1},
    {"stock": 1_000_000, "shards": 64},
]
"""The input of createProduct, but for the names: drops that sell out early and late, with a limit and without, and two
that never sell out; with the default number of shards, the fewest, the most and some."""

PLENTY = 100_000
"""A drop with more units never sells out."""

REGULARS = REQUESTS // 40
"""Buyers who come again and again for the drops with a limit."""

CREATE = "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }"
ORDERS = """
query ($product: ID!, $after: String) {
  orders(productId: $product, first: 100, after: $after) {
    edges { node { id userRef quantity status } }
    pageInfo { hasNextPage endCursor }
  }
}
"""


async def new_books(customers: Customers) -> list[Book]:
    """Create the products, and open a book for each."""
    books = []
    for number, product in enumerate(PRODUCTS):
        wanted = {"name": f"Tee {number}", "dropName": "First Light", **product, "idempotencyKey": f"tee-{number}"}
        reply = await customers.until_answered(CREATE, {"input": wanted})
        books.append(Book(reply.value["id"], product["stock"], product.get("limitPerBuyer")))
    return books


async def visit(customers: Customers, book: Book, chance: random.Random, number: int) -> None:
    """What one customer does: restock, or buy and perhaps cancel. Many send each request twice at once."""
    clicks = chance.choice([1, 1, 1, 2])
    key = f"click-{number}"
    if book.opening < PLENTY and chance.random() < 0.15:
        await customers.restock(book, chance.choice([-20, -5, -2, -1, 1, 2, 3, 8]), key, clicks=clicks)
        return
    buyer = f"buyer-{number if book.limit is None else chance.randrange(REGULARS)}"
    wanted = purchase(UUID(book.product_id), buyer, chance.choice([1, 1, 1, 2, 3]), key)
    once = number % 8 == 0
    if await customers.buy(book, wanted, key, clicks=1 if once else clicks, once=once) and chance.random() < 0.25:
        await customers.cancel(book, wanted, clicks=chance.choice([1, 2]))
        if clicks == 1:
            await customers.find_cancelled(book, wanted, key)


async def kill_servers(fleet: Fleet, endpoints: list[StandIn], customers: Customers) -> None:
    """Kill one server after the other, each while a COMMIT is in flight, and start another process in its place."""
    async with asyncio.TaskGroup() as starting:
        for kill in range(KILLS):
            enough = REQUESTS * (kill + 1) // (KILLS + 1)
            await until(lambda enough=enough: customers.replies.total() >= enough)  # type: ignore[misc]
            for endpoint in endpoints:
                endpoint.commit_latency = 0.05
                endpoint.commit_arrived.clear()
            await asyncio.wait_for(endpoints[kill % 2].commit_arrived.wait(), PATIENCE)
            await fleet.kill(kill)
            for endpoint in endpoints:
                endpoint.commit_latency = 0.0
            starting.create_task(fleet.start(kill))


async def read_orders(customers: Customers, book: Book) -> dict[UUID, dict[str, Any]]:
    """Read all orders of a product as the operator."""
    orders: dict[UUID, dict[str, Any]] = {}
    after: str | None = None
    while True:
        reply = await customers.until_answered(ORDERS, {"product": book.product_id, "after": after})
        orders |= {UUID(edge["node"]["id"]): edge["node"] for edge in reply.value["edges"]}
        if not reply.value["pageInfo"]["hasNextPage"]:
            return orders
        after = reply.value["pageInfo"]["endCursor"]


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 3 * PATIENCE)
async def test_four_servers_that_are_killed_while_they_sell_answer_the_truth(
    tmp_path: Path, home: StandIn, peer: StandIn, behind: Pool
) -> None:
    chance = seeded()
    audits = list[bool]()
    numbers = itertools.count()
    endpoints = [home, peer]

    async with Fleet(tmp_path, SERVERS, home, peer, chance) as fleet, new_session() as session:
        customers = Customers(fleet, session, chance)
        books = await new_books(customers)

        async def customer(killing: asyncio.Task[None]) -> None:
            for number in numbers:
                if number >= REQUESTS and killing.done():
                    return
                await visit(customers, chance.choice(books), chance, number)

        async with beside(make_weather(chance, endpoints, WEATHER_OF_PROCESSES), audit_again_and_again(behind, audits)):
            async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
                killing = tasks.create_task(kill_servers(fleet, endpoints, customers))
                for _ in range(CUSTOMERS):
                    tasks.create_task(customer(killing))
            await until(lambda: len(audits) > 3)
        await end_all_faults(endpoints)
        print(f"{len(audits)} audits; replies: {customers.replies}")  # noqa: T201
        orders = [await read_orders(customers, book) for book in books]
        audited = await dropzero("audit", **fleet.variables(0))

    assert all(audits)
    assert fleet.tracebacks == 0
    assert audited.status == 0, audited
    lines = {str(line.product_id): line for line in await audit(behind)}
    for book, of_book in zip(books, orders, strict=True):
        assert_orders_are_those_confirmed(book, of_book)
        assert_books_are_exact(book, of_book, lines[book.product_id])
        assert_refusals_are_true(book)
    assert customers.replies.keys() >= {"CONFIRMED", "CANCELLED", "SOLD_OUT", "LIMIT_REACHED", "BAD_USER_INPUT", "LOST"}


def assert_orders_are_those_confirmed(book: Book, orders: dict[UUID, dict[str, Any]]) -> None:
    """Every buyer with an answer has the order of that answer, and there is no other order."""
    assert book.confirmed.keys() <= orders.keys(), "confirmed without an order"
    assert orders.keys() <= book.confirmed.keys() | book.uncertain.keys(), "an order that was confirmed to nobody"
    assert max(book.new.values(), default=0) <= 1, "two requests were answered that the same order was new"
    cancelled = {order_id for order_id, order in orders.items() if order["status"] == "CANCELLED"}
    assert cancelled == book.cancelled
    for order_id, order in orders.items():
        wanted, begun = book.uncertain.get(order_id) or (book.confirmed[order_id], 0.0)
        assert (order["userRef"], order["quantity"]) == (wanted.user_ref, wanted.quantity)
        if order_id not in book.confirmed:
            book.changed(wanted.user_ref, -wanted.quantity, begun, NEVER)


def assert_books_are_exact(book: Book, orders: dict[UUID, dict[str, Any]], line: AuditLine) -> None:
    """Exactly the stock was sold, every restock counts once, and no buyer has more than the limit."""
    held = Counter[str]()
    for order in orders.values():
        held[order["userRef"]] += order["quantity"] if order["status"] == "CONFIRMED" else 0
    assert line.stocked == book.opening + book.restocked, "a restock was lost, or counted twice"
    assert line.sold == held.total()
    assert line.stock == line.stocked - held.total() >= 0, "oversold or lost"
    assert book.limit is None or max(held.values()) <= book.limit


def assert_refusals_are_true(book: Book) -> None:
    """No answer says sold out while there were units for certain, or limit reached for a buyer below the limit. At no
    moment did a buyer have more than the limit, or were more units sold than there were."""
    for ledger in (book.stock, *book.limits.values()):
        assert ledger.false_refusals() == [], "refused while there were enough units"
        assert not ledger.overdrawn, "more units than there were"
    assert book.opening < PLENTY or not book.stock.refusals
