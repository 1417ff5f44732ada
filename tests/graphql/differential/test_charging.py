"""The work of an operation is charged to its client once, in whichever task it is done."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from time import perf_counter
from typing import Any, TypeAlias

import pytest
from graphql import GraphQLObjectType, GraphQLResolveInfo, build_schema

from api.identity.gate import Gate
from api.identity.turns import LENGTH
from tests.graphql.differential.script import Plan, Scripted, scripted
from tests.graphql.differential.ways import Request, Ways
from tests.graphql.rows import work
from tests.patience import PATIENCE

Info: TypeAlias = GraphQLResolveInfo[Scripted]

SDL = """
type Row { slow: Int! fails: Int never: Int! late: Row! rows(count: Int!): [Row!]! lateRows(count: Int!): [Row!]! }
type Query { slow: Int! fails: Int never: Int! late: Row! rows(count: Int!): [Row!]! lateRows(count: Int!): [Row!]! }
type Mutation { slow: Int! fails: Int never: Int! late: Row! rows(count: Int!): [Row!]! lateRows(count: Int!): [Row!]! }
"""


def do_a_piece(info: Info) -> None:
    """A piece of work, which is counted."""
    work(LENGTH)
    info.context.calls.append("a piece")


def slow(source: object, info: Info) -> int:
    do_a_piece(info)
    return 1


def never(source: object, info: Info) -> int:
    raise ValueError("at once")


def fails(source: object, info: Info) -> int:
    do_a_piece(info)
    raise ValueError("after some work")


async def late(source: object, info: Info) -> object:
    await asyncio.sleep(0)
    do_a_piece(info)
    return object()


def rows(source: object, info: Info, count: int) -> list[object]:
    return [object()] * count


async def late_rows(source: object, info: Info, count: int) -> list[object]:
    await asyncio.sleep(0)
    return [object()] * count


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    schema = build_schema(SDL)
    resolvers = {"slow": slow, "fails": fails, "never": never, "late": late, "rows": rows, "lateRows": late_rows}
    for name in ("Query", "Mutation", "Row"):
        type_ = schema.type_map[name]
        assert isinstance(type_, GraphQLObjectType)
        for field_name, field in type_.fields.items():
            field.resolve = resolvers[field_name]
    with closing(Ways(schema)) as ways:
        yield ways


class Charged(Gate):
    """A gate that adds up the charged seconds of each client."""

    def __init__(self) -> None:
        super().__init__()
        self.charged: defaultdict[str, float] = defaultdict(float)

    def charge(self, client: str, seconds: float) -> None:
        self.charged[client] += seconds


@pytest.mark.parametrize("way", ["ours", "theirs"])
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("{ slow }", 1),
        ("{ fails slow }", 2),
        ("{ late { slow } }", 2),
        ("{ a: late { slow } b: late { slow } }", 4),
        ("{ a: late { b: late { slow } c: late { slow } slow fails } d: slow }", 8),
        ("{ late { rows(count: 3) { slow } } }", 4),
        ("{ rows(count: 20) { late { slow } } }", 40),
        ("{ lateRows(count: 20) { slow a: late { fails } } a: lateRows(count: 3) { late { slow } } }", 66),
        ("mutation { a: late { slow } b: late { slow } c: slow d: late { a: late { slow } b: late { slow } } }", 10),
    ],
)
def test_all_work_is_charged_once(ways: Ways, way: str, text: str, pieces: int) -> None:
    gate = Charged()
    context = scripted(Plan(), gate)
    request = Request(ways.prepare(text))
    execute: Any = ways.execute if way == "ours" else ways.execute_by_graphql_core

    begun = perf_counter()
    ways.run(gate.metered("a client", execute(request, context)))

    assert len(context.calls) == pieces
    assert pieces * LENGTH <= gate.charged["a client"] <= perf_counter() - begun
    assert gate.charged.keys() == {"a client"}


@pytest.mark.parametrize("way", ["ours", "theirs"])
@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("{ late { slow } never }", 2),
        ("{ a: late { slow } b: late { slow } never }", 4),
        ("{ rows(count: 2) { late { slow } } c: late { late { slow } } never }", 7),
        ("{ rows(count: 3) { late { slow } never } }", 2),
        ("{ lateRows(count: 20) { slow } never }", 20),
    ],
)
def test_work_beside_a_failed_field_is_charged_as_well(ways: Ways, way: str, text: str, pieces: int) -> None:
    """Its response does not wait for it. Unless it is cancelled, a client could have any amount of it for nothing."""
    gate = Charged()
    context = scripted(Plan(), gate)
    request = Request(ways.prepare(text))
    execute: Any = ways.execute if way == "ours" else ways.execute_by_graphql_core

    async def to_the_end() -> None:
        others = asyncio.all_tasks()
        await gate.metered("a client", execute(request, context))
        async with asyncio.timeout(PATIENCE):
            while asyncio.all_tasks() - others:
                await asyncio.sleep(0)

    ways.run(to_the_end())

    assert len(context.calls) <= pieces
    assert len(context.calls) * LENGTH <= gate.charged["a client"]
