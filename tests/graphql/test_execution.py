"""Execution: lists are completed in turns with other work, and an operation leaves nothing behind."""

import asyncio
import gc
import warnings
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import isawaitable
from time import perf_counter
from typing import Any, cast

import pytest
import strawberry
from graphql import GraphQLError, execute, parse
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from api.drops.drops import Drops
from api.graphql.context import Context
from api.graphql.documents import Documents
from api.graphql.execution import Executor
from api.graphql.reference import PIECE
from api.identity.caller import OPERATOR
from api.identity.errors import RateLimited
from api.identity.gate import Gate
from api.identity.turns import LENGTH, Turns
from tests.graphql.rows import READ, Query, fails, work
from tests.patience import PATIENCE
from tests.plans import Statement
from tests.server import PURCHASE, Server


@pytest.fixture(scope="module")
def schema() -> strawberry.Schema:
    return strawberry.Schema(Query)


class Spy(Turns):
    """Turns that record each payment, and grant it after one round of the event loop."""

    def __init__(self, refusing_from: int | None = None) -> None:
        """`refusing_from`: the number of the first payment that is refused."""
        super().__init__(0.1, 0.4)
        self._refusing_from = refusing_from
        self.paid: list[tuple[str, float]] = []

    async def pay(self, client: str, used: float) -> None:
        self.paid.append((client, used))
        await asyncio.sleep(0)
        if self._refusing_from is not None and len(self.paid) >= self._refusing_from:
            raise RateLimited("your share is used", 10.0)


def context(turns: Turns, gate: Gate | None = None) -> Context:
    return Context(cast("Drops", None), OPERATOR, "a client", turns, gate or Gate())


async def run(schema: strawberry.Schema, query: str, turns: Turns, gate: Gate | None = None) -> dict[str, Any]:
    executor = Executor(schema)
    document = Documents(executor.schema, turns).prepare(query)
    async with asyncio.timeout(PATIENCE):
        return await executor.execute(document, None, None, context(turns, gate))


class Charged(Gate):
    """A gate that adds up the charged seconds of each client."""

    def __init__(self) -> None:
        super().__init__()
        self.charged: defaultdict[str, float] = defaultdict(float)

    def charge(self, client: str, seconds: float) -> None:
        self.charged[client] += seconds


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("{ laterRows(count: 4) { slow } }", 4),
        ("{ a: laterRows(count: 4) { slow } b: laterRows(count: 4) { slow } }", 8),
        ("{ a: laterRows(count: 20) { slow } b: laterRows(count: 20) { slow } }", 40),
        ("{ a: laterRows(count: 20) { rows(count: 2) { slow } } b: rows(count: 2) { rows(count: 20) { slow } } }", 80),
    ],
)
async def test_a_client_is_charged_once_for_all_tasks_of_its_operation(
    schema: strawberry.Schema, query: str, rows: int
) -> None:
    gate = Charged()

    begun = perf_counter()
    response = await gate.metered("a client", run(schema, query, Spy(), gate))

    assert "errors" not in response
    assert rows * LENGTH <= gate.charged["a client"] <= perf_counter() - begun
    assert gate.charged.keys() == {"a client"}


@asynccontextmanager
async def counted_rounds() -> AsyncIterator[list[int]]:
    """Count the rounds of the event loop that other tasks have in the block, in a list of one number."""
    rounds = [0]

    async def count() -> None:
        while True:
            rounds[0] += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await asyncio.sleep(0)
    rounds[0] = 0
    try:
        yield rounds
    finally:
        counting.cancel()


class TestPieces:
    async def test_a_long_list_leaves_the_event_loop_to_others_in_between(self, schema: strawberry.Schema) -> None:
        turns = Spy()
        async with counted_rounds() as rounds:
            response = await run(schema, "{ rows(count: 100) { slow } }", turns)

        assert response == {"data": {"rows": [{"slow": number} for number in range(100)]}}
        assert rounds[0] >= 99
        assert len(turns.paid) >= 99
        assert {client for client, _ in turns.paid} == {"a client"}
        assert all(used >= LENGTH for _, used in turns.paid)

    async def test_others_are_served_while_a_long_list_waits_for_its_turns(self, schema: strawberry.Schema) -> None:
        turns, served = Turns(0.1, 0.1), 0

        async def serve() -> None:
            nonlocal served
            while True:
                work(LENGTH / 5)
                served += 1
                await asyncio.sleep(0)

        serving = asyncio.create_task(serve())
        await run(schema, "{ rows(count: 20) { slow } }", turns)
        serving.cancel()

        # Nine tenths of the time are for others: nine times as long as some 19 turns, each as long as 5 of their steps.
        assert served > 19 * 9 * 5 / 2

    async def test_a_short_list_is_completed_at_once(self, schema: strawberry.Schema) -> None:
        turns = Spy()
        async with counted_rounds() as rounds:
            await run(schema, f"{{ rows(count: {PIECE}) {{ slow }} }}", turns)

        assert (turns.paid, rounds[0]) == ([], 0)

    async def test_a_long_list_that_takes_no_time_pays_nothing(self, schema: strawberry.Schema) -> None:
        turns = Spy()
        await run(schema, f"{{ numbers(count: {PIECE + 1}) }}", turns)

        assert sum(used for _, used in turns.paid) < PIECE * LENGTH  # nothing at all, unless the machine is busy

    async def test_lists_in_a_list_are_completed_in_pieces_as_well(self, schema: strawberry.Schema) -> None:
        turns = Spy()
        await run(schema, "{ rows(count: 2) { rows(count: 50) { slow } } }", turns)

        assert len(turns.paid) >= 90

    async def test_the_time_of_the_database_is_not_paid(self, schema: strawberry.Schema) -> None:
        turns = Spy()
        await run(schema, "{ read { number } }", turns)

        assert sum(used for _, used in turns.paid) < READ

    async def test_a_list_that_gets_no_turn_is_refused_with_a_time_to_retry(self, schema: strawberry.Schema) -> None:
        response = await run(schema, "{ rows(count: 50) { slow } }", Spy(refusing_from=3))

        assert response["data"] is None
        [error] = response["errors"]
        assert error["path"] == ["rows"]
        assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfterMs": 10_000}


QUERIES = [
    "{ rows(count: 50) { number } }",
    "{ rows(count: 0) { number } }",
    f"{{ rows(count: {PIECE + 1}) {{ number __typename }} }}",
    "{ perhapsRows(count: 50) { number } }",
    "{ rows(count: 50) { perhaps } }",
    "{ perhapsRows(count: 50) { surely } }",
    "{ rows(count: 50) { later } }",
    "{ rows(count: 50) { perhapsLater later } }",
    "{ perhapsRows(count: 50) { surelyLater } }",
    "{ perhapsRows(count: 50) { surelyLater perhaps } }",
    "{ numbers(count: 50) }",
    "{ aGenerator(count: 5) { later } }",
    "{ noNumbers }",
    "{ tables(count: 30) }",
    "{ rows(count: 20) { number rows(count: 15) { perhaps later } } }",
    "{ perhapsRows(count: 15) { rows(count: 15) { surely } } }",
    "{ a: perhapsRows(count: 30) { surelyLater } b: rows(count: 30) { perhaps } c: perhapsAll(count: 30) { later } }",
]


class TestTheResult:
    @pytest.mark.parametrize("query", QUERIES)
    async def test_it_is_the_same_as_graphql_core_s(self, schema: strawberry.Schema, query: str) -> None:
        ours = await run(schema, query, Spy())
        theirs = execute(
            schema._schema,
            parse(query),
            context_value=context(Spy()),
            executor_class=StrawberryGraphQLCoreExecutionContext,
        )
        expected = await theirs if isawaitable(theirs) else theirs

        assert ours["data"] == expected.data
        assert places(ours.get("errors", [])) == places([as_entry(error) for error in expected.errors or []])

    async def test_errors_have_their_paths(self, schema: strawberry.Schema) -> None:
        response = await run(schema, "{ rows(count: 20) { number rows(count: 20) { perhaps } } }", Spy())

        wrong = [number for number in range(20) if fails(number)]
        expected = [["rows", outer, "rows", inner, "perhaps"] for outer in range(20) for inner in wrong]
        assert sorted(error["path"] for error in response["errors"]) == expected
        assert response["data"]["rows"][19]["rows"][4] == {"perhaps": 4}

    @pytest.mark.parametrize(
        ("query", "refusing_from"),
        [
            ("{ perhapsAll(count: 50) { later surely } }", None),
            ("{ perhapsHoled(count: 20) { later } }", None),
            ("{ rows(count: 50) { later slow } }", 5),
        ],
    )
    async def test_an_error_amid_a_list_leaves_no_coroutine_unawaited(
        self, schema: strawberry.Schema, query: str, refusing_from: int | None
    ) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            response = await run(schema, query, Spy(refusing_from))
            gc.collect()

        assert len(response["errors"]) == 1
        assert [str(warning.message) for warning in caught] == []

    async def test_the_tasks_beside_a_failed_one_are_awaited_or_cancelled(self, schema: strawberry.Schema) -> None:
        before = asyncio.all_tasks()
        response = await run(schema, "{ perhapsAll(count: 50) { surelyLater waits } }", Spy())

        assert response["data"] == {"perhapsAll": None}
        assert asyncio.all_tasks() == before

    async def test_the_products_of_a_long_list_are_read_together(
        self, server: Server, statements: list[Statement]
    ) -> None:
        product_ids = [await server.create_product() for _ in range(PIECE + 5)]
        await asyncio.gather(*(server.purchase(product_id, "a collector") for product_id in product_ids))
        statements.clear()

        query = '{ orders(userRef: "a collector", first: 100) { edges { node { product { id } } } } }'
        edges = (await server.data(query))["orders"]["edges"]

        assert sorted(edge["node"]["product"]["id"] for edge in edges) == sorted(product_ids)
        assert len(statements) == 2, "one for the orders, and one for all products"


def as_entry(error: GraphQLError) -> dict[str, Any]:
    return {"path": error.path, "locations": error.formatted.get("locations")}


def places(errors: list[dict[str, Any]]) -> list[str]:
    """The places of the errors, sorted: fields that wait do not fail in the order of the document."""
    return sorted(repr((list(error["path"]), error["locations"])) for error in errors)


@pytest.mark.slow
async def test_a_purchase_leaves_no_work_for_the_garbage_collector(server: Server) -> None:
    product_id = await server.create_product(stock=1_000)

    async def buy() -> None:
        wanted = {"productId": product_id, "userRef": "ada"}
        async with server.session.post(
            f"{server.url}/graphql", json={"query": PURCHASE, "variables": {"input": wanted}}
        ):
            pass

    for _ in range(20):  # caches and pools fill
        await buy()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            await buy()
        unreachable = gc.collect()
    finally:
        gc.enable()

    assert unreachable < 50 * 20, "the client in this process leaves some of its own; a cycle in each execution left 57"
