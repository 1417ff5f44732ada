"""The work of an operation is charged to its client once, in whichever task it is done."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from time import perf_counter
from typing import Any

import pytest
from graphql import GraphQLObjectType, build_schema

from api.identity.gate import Gate
from api.identity.turns import LENGTH
from tests.graphql.differential.script import Plan, scripted
from tests.graphql.differential.ways import Request, Ways
from tests.graphql.rows import work

SDL = """
type Row { slow: Int! fails: Int late: Row! rows(count: Int!): [Row!]! lateRows(count: Int!): [Row!]! }
type Query { slow: Int! fails: Int late: Row! rows(count: Int!): [Row!]! lateRows(count: Int!): [Row!]! }
type Mutation { slow: Int! fails: Int late: Row! rows(count: Int!): [Row!]! lateRows(count: Int!): [Row!]! }
"""


def slow(source: object, info: object) -> int:
    work(LENGTH)
    return 1


def fails(source: object, info: object) -> int:
    work(LENGTH)
    raise ValueError("after some work")


async def late(source: object, info: object) -> object:
    await asyncio.sleep(0)
    work(LENGTH)
    return object()


def rows(source: object, info: object, count: int) -> list[object]:
    return [object()] * count


async def late_rows(source: object, info: object, count: int) -> list[object]:
    await asyncio.sleep(0)
    return [object()] * count


@pytest.fixture(scope="module")
def ways() -> Iterator[Ways]:
    schema = build_schema(SDL)
    resolvers = {"slow": slow, "fails": fails, "late": late, "rows": rows, "lateRows": late_rows}
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
    request = Request(ways.prepare(text))
    execute: Any = ways.execute if way == "ours" else ways.execute_by_graphql_core

    begun = perf_counter()
    ways.run(gate.metered("a client", execute(request, scripted(Plan(), gate))))

    assert pieces * LENGTH <= gate.charged["a client"] <= perf_counter() - begun
    assert gate.charged.keys() == {"a client"}
