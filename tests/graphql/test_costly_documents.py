"""Documents that are written to cost time. None of them costs more than a few introspection queries."""

import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from graphql import GraphQLSchema, get_introspection_query

from api.graphql.document_limits import MAX_INTROSPECTIONS, MAX_SAME
from api.graphql.documents import Documents
from api.graphql.validation import MAX_ERRORS, MAX_LENGTH
from tests.graphql.documents import as_many_as_allowed, introspection_with_everything, refusal, steps, turns
from tests.graphql.http_requests import CODES
from tests.graphql.subscriptions import WATCH, streaming
from tests.server import Server

STEPS = 16
"""Steps of an attack that doubles the work with each."""


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


DOUBLING: dict[str, Callable[[int], str]] = {
    "fragments that double": lambda count: steps("{ ...F0 }", "...{next} ...{next}", "Query", "__typename", count),
    "fragments that double an alias": lambda count: steps(
        "{ ...F0 }", "a: __typename ...{next} ...{next}", "Query", "__typename", count
    ),
    "fragments that double fields": lambda count: steps(
        '{ __type(name: "Query") { ...F0 } }',
        "a: ofType {{ ...{next} }} b: ofType {{ ...{next} }}",
        "__Type",
        "name",
        count,
    ),
}
"""Attacks by their number of steps. Each step doubles the work of a server that follows every spread."""

ATTACKS = {
    "one field over and over": as_many_as_allowed("{", lambda _: " __typename", "}"),
    "one object over and over": as_many_as_allowed("{", lambda _: " regions{name}", "}"),
    "one connection over and over": as_many_as_allowed("{", lambda _: " products{edges{cursor}}", "}"),
    "empty selections": as_many_as_allowed("{", lambda _: " products{}", "}"),
    "one argument over and over": as_many_as_allowed("{", lambda _: ' product(id:"x"){id}', "}"),
    "arguments that differ": as_many_as_allowed("{", lambda n: f" product(id:{n}){{id}}", "}"),
    "inline fragments": as_many_as_allowed("{", lambda _: " ...{__typename}", "}"),
    "inline fragments on interfaces": as_many_as_allowed(
        'mutation{purchase(input:{productId:"x",userRef:"x"}){',
        lambda n: f" ...on Purchase{('Confirmed', 'SoldOut', 'NotOpen', 'Busy')[n % 4]}{{status message}}",
        "}}",
    ),
    "one fragment over and over": as_many_as_allowed("{", lambda _: " ...F", "} fragment F on Query{__typename}"),
    "unused fragments": as_many_as_allowed("{__typename}", lambda n: f" fragment F{n} on Query{{__typename}}", ""),
    "unknown fragments": as_many_as_allowed("{", lambda n: f" ...F{n}", "}"),
    "fragments side by side": "{"
    + " ".join(f"...F{n}" for n in range(50))
    + "}"
    + "".join(f" fragment F{n} on Query{{__typename}}" for n in range(50)),
    "two fragments full of the same": "{...F ...G}"
    + "".join(f" fragment {name} on Query{{" + " __typename" * 140 + "}" for name in "FG"),
    **{name: doubling(STEPS) for name, doubling in DOUBLING.items()},
    "fragments that all spread all": "{ ...F0 }"
    + "".join(f" fragment F{n} on Query{{" + "".join(f" ...F{m}" for m in range(12)) + "}" for n in range(12)),
    "fragments in a large circle": "{ ...F0 }"
    + "".join(f" fragment F{n} on Query{{...F{(n + 1) % 50}}}" for n in range(50)),
    "operations": as_many_as_allowed("", lambda n: f" query Q{n}{{__typename}}", ""),
    "operations that share a fragment": as_many_as_allowed(
        "fragment F on Query{product(id:$a){id} order(id:$b){id}}", lambda n: f" query Q{n}($a:ID!,$b:ID!){{...F}}", ""
    ),
    "operations of one name": as_many_as_allowed("", lambda _: " query Q{__typename}", ""),
    "variables": as_many_as_allowed("query(", lambda n: f" $v{n}:ID", "){__typename}"),
    "variables of one name": as_many_as_allowed("query(", lambda _: " $v:ID", "){__typename}"),
    "variables that are used": as_many_as_allowed(
        "query(" + " ".join(f"$v{n}:ID!" for n in range(40)) + "){", lambda n: f" product(id:$v{n % 40}){{id}}", "}"
    ),
    "variables of unknown types": as_many_as_allowed(
        "query(", lambda n: f" $v{n}:PurchaseConfirmd{n}", "){__typename}"
    ),
    "a large list": as_many_as_allowed("{product(id:[", lambda _: " 1", "]){id}}"),
    "large lists side by side": as_many_as_allowed("{", lambda _: " product(id:[1 2 3 4 5 6 7 8 9]){id}", "}"),
    "a large object": as_many_as_allowed("mutation{cancelOrder(input:{", lambda n: f" orderIdd{n}:1", "}){id}}"),
    "unknown fields": as_many_as_allowed("{", lambda n: f" prodcuts{n}", "}"),
    "unknown arguments": as_many_as_allowed("{product(", lambda n: f" idd{n}:1", "){id}}"),
    "unknown directives": as_many_as_allowed("{__typename", lambda _: " @inclde", "}"),
    "long unknown names": as_many_as_allowed("{", lambda n: f" {'x' * 1500}{n}", "}"),
    "a directive over and over": as_many_as_allowed("{__typename", lambda _: " @include(if:true)", "}"),
    "directives on every field": as_many_as_allowed("{", lambda _: " __typename @include(if:true)", "}"),
    "aliases of one name": as_many_as_allowed("{", lambda _: " a:__typename", "}"),
    "a long comment": "#" + "x" * (MAX_LENGTH - 20) + "\n{__typename}",
    "a long string": '{product(id:"' + "x" * (MAX_LENGTH - 30) + '"){id}}',
    "a long block string": '{product(id:"""' + "x\n" * (MAX_LENGTH // 2 - 20) + '"""){id}}',
    "a long escaped string": '{product(id:"' + "\\u0041" * (MAX_LENGTH // 6 - 10) + '"){id}}',
    "a long name": "{" + "x" * (MAX_LENGTH - 10) + "}",
    "a long number": "{products(first:" + "9" * (MAX_LENGTH - 50) + "){edges{cursor}}}",
    "empty lines": "\n" * (MAX_LENGTH - 20) + "{__typename}",
    "all of introspection, aliased": "{"
    + " ".join(f"a{n}:__schema{{...S}}" for n in range(MAX_INTROSPECTIONS))
    + "} fragment S on __Schema{types{name fields{name description args{name type{name ofType{name ofType{name}}}} "
    "type{name ofType{name ofType{name}}}} possibleTypes{name fields{name type{name}}}}}",
    "introspection": introspection_with_everything(),
    "operations full of the same objects": "".join(f"query Q{n}{{{' regions{name}' * MAX_SAME}}}" for n in range(11)),
    "fragments that spread each other": "{ ...F0 }"
    + "".join(f" fragment F{n} on Query{{" + "".join(f" ...F{m}" for m in range(20)) + "}" for n in range(18)),
}


ANSWERED = {
    "one fragment over and over",
    "a long comment",
    "empty lines",
    "all of introspection, aliased",
    "introspection",
}
"""The valid ones. All others are refused."""

MOST = 10
"""The limit of a document's cost, as a multiple of the cost of introspection, which every tool sends. The costliest
document that we know, all of introspection as often as is allowed, costs four to six times as much."""

ATTEMPTS = 5
"""Attempts, of which one must pass. A busy machine can only make a document look more costly than it is."""


NUMBERS = itertools.count()


async def cost(server: Server, query: str) -> tuple[float, dict[str, Any]]:
    """The CPU seconds of a request, and its answer. Client and server both run in this thread, and both count."""
    started = time.thread_time()
    answer = await server.ask(query)
    return time.thread_time() - started, answer


async def costs_of_introspection(server: Server) -> list[float]:
    """The CPU seconds of three standard introspection queries. The server keeps none of their documents from before."""
    return [(await cost(server, f"{get_introspection_query()} # {next(NUMBERS)}"))[0] for _ in range(3)]


def calls(function: Callable[[], object]) -> int:
    """Run the function, and count the calls and returns of all functions until it has returned."""
    number = 0

    def count(*_: object) -> None:
        nonlocal number
        number += 1

    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
    return number


@pytest.fixture(scope="module")
async def introspections(shared_server: Server) -> list[float]:
    """The CPU seconds of introspection on this machine."""
    return await costs_of_introspection(shared_server)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.slow
async def test_no_document_costs_more_than_a_few_introspections(
    server: Server, introspections: list[float], attack: str
) -> None:
    costs: list[float] = []
    for attempt in range(ATTEMPTS):
        took, answer = await cost(server, f"{ATTACKS[attack]} # {attempt}"[:MAX_LENGTH])
        codes = {error["extensions"]["code"] for error in answer.get("errors", [])}
        assert codes <= set(CODES)
        assert bool(codes) == (attack not in ANSWERED), answer
        costs.append(took)
        if min(costs) <= MOST * min(introspections):
            return
        introspections = await costs_of_introspection(server)  # the machine may be busier by now
    pytest.fail(f"it costs {min(costs) / min(introspections):.1f} times as much as introspection")


@pytest.mark.parametrize("attack", DOUBLING)
def test_the_cost_of_fragments_that_double_is_linear(schema: GraphQLSchema, attack: str) -> None:
    """Twice as many steps take twice as many calls, not 256 times as many."""
    half, whole = (DOUBLING[attack](count) for count in (STEPS // 2, STEPS))
    for text in (half, whole):
        assert all("are allowed" in message for message in refusal(Documents(schema, turns()), text))
    assert calls(lambda: refusal(Documents(schema, turns()), whole)) < 3 * calls(
        lambda: refusal(Documents(schema, turns()), half)
    )


async def test_values_of_a_wrong_type_cost_no_more_than_others(server: Server) -> None:
    async def refuse(value: object) -> tuple[float, list[str]]:
        started = time.thread_time()
        async with streaming(server, WATCH, {"ids": [value] * 40_000}) as stream:
            _, response = await stream.event()
        return time.thread_time() - started, [error["message"] for error in response["errors"]]

    right: list[float] = []
    wrong: list[float] = []
    for _ in range(ATTEMPTS):  # 40 ms and 110 ms where it was measured
        took, messages = await refuse(1234)
        assert len(messages) == 1
        assert messages[0].startswith("productIds must be a UUID")
        right.append(took)
        took, messages = await refuse(None)
        assert len(messages) == MAX_ERRORS + 1
        assert messages[-1].startswith("Too many errors processing variables")
        wrong.append(took)
        if min(wrong) <= min(right):
            return
    pytest.fail(f"they cost {min(wrong) / min(right):.1f} times as much")
