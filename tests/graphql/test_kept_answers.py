"""Answers to introspection: executed once, and then kept. The tests count the executions of operations."""

from typing import Any, cast

import pytest
import strawberry

from api.drops.drops import Drops
from api.graphql.compiled.operation import CompiledOperation
from api.graphql.context import Context
from api.graphql.documents import Documents
from api.graphql.execution import KEPT_ANSWERS, Executor
from api.graphql.schema import make_schema
from api.identity.caller import OPERATOR
from api.identity.gate import Gate
from api.identity.turns import Turns
from tests.graphql.subscriptions import streaming
from tests.graphql.transport import connected
from tests.server import Server


@pytest.fixture(scope="module")
def schema() -> strawberry.Schema:
    return make_schema()


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The names of the operations that are executed from now on."""
    names: list[str | None] = []
    execute = CompiledOperation.execute

    async def recorded(operation: CompiledOperation, *arguments: Any) -> Any:
        names.append(operation.name)
        return await execute(operation, *arguments)

    monkeypatch.setattr(CompiledOperation, "execute", recorded)
    return names


@pytest.fixture
def executor(schema: strawberry.Schema) -> Executor:
    return Executor(schema)


async def ask(
    executor: Executor, query: str, name: str | None = None, variables: dict[str, Any] | None = None
) -> dict[str, Any]:
    turns = Turns(0.1, 0.4)
    document = Documents(executor.schema, turns).prepare(query)
    context = Context(cast("Drops", None), OPERATOR, "a client", turns, Gate())
    return await executor.execute(document, name, variables, context)


async def test_introspection_is_executed_once(server: Server, executed: list[str | None]) -> None:
    query = '{ once: __type(name: "Product") { name fields { name type { name } } } }'

    answers = [await server.ask(query) for _ in range(3)]

    assert answers[0]["data"]["once"]["name"] == "Product"
    assert answers == answers[:1] * 3
    assert len(executed) == 1


async def test_each_operation_of_a_document_has_its_own_answer(executor: Executor, executed: list[str | None]) -> None:
    query = 'query A { __typename } query B { __type(name: "Product") { name } }'

    answers = [str((await ask(executor, query, name))["data"]) for name in ("A", "B", "A", "B")]

    assert executed == ["A", "B"]
    assert answers[0] != answers[1]


async def test_an_operation_with_other_fields_is_executed_each_time(
    executor: Executor, executed: list[str | None]
) -> None:
    for query in (
        '{ __typename product(id: "x") { id } }',
        '{ ...F } fragment F on Query { ... { product(id: "x") { id } } }',
    ):
        for _ in range(2):
            await ask(executor, query)

    assert len(executed) == 4


async def test_answers_to_variables_are_not_kept(executor: Executor, executed: list[str | None]) -> None:
    query = "query ($name: String!) { __type(name: $name) { name } }"

    answers = [await ask(executor, query, variables={"name": name}) for name in ("Product", "Query", "Product")]

    assert [answer["data"]["__type"]["name"] for answer in answers] == ["Product", "Query", "Product"]
    assert len(executed) == 3


async def test_errors_are_not_kept(executor: Executor, executed: list[str | None]) -> None:
    query = "query ($no: Boolean!) { __typename @skip(if: $no) }"

    for _ in range(2):
        assert "errors" in await ask(executor, query)
    assert (await ask(executor, query, variables={"no": True})) == {"data": {}}
    assert "errors" in await ask(executor, query, "no such operation")
    assert len(executed) == 3


async def test_the_least_recently_used_answer_is_dropped_first(executor: Executor, executed: list[str | None]) -> None:
    def query(number: int) -> str:
        return f"query Q{number} {{ __typename }}"

    for number in range(KEPT_ANSWERS):
        await ask(executor, query(number))
    await ask(executor, query(0))
    assert len(executed) == KEPT_ANSWERS

    await ask(executor, query(KEPT_ANSWERS))  # displaces the answer to query(1)
    await ask(executor, query(0))
    assert len(executed) == KEPT_ANSWERS + 1
    await ask(executor, query(1))
    assert len(executed) == KEPT_ANSWERS + 2


async def test_a_kept_answer_is_the_same_over_every_transport(server: Server, executed: list[str | None]) -> None:
    query = '{ everywhere: __type(name: "Order") { name fields { name } } }'
    first = (await server.ask(query))["data"]

    async with connected(server) as client:
        assert await client.answer(query) == first
    async with streaming(server, query) as stream:
        assert await stream.next() == first
        assert (await stream.event())[0] == "complete"
    async with server.session.get(f"{server.url}/graphql", params={"query": query}) as response:
        assert await response.json() == {"data": first}
    assert len(executed) == 1
