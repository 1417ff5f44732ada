"""Hostile documents of an ordinary size. tests/graphql/test_document_limits.py has those that are too large."""

from pathlib import Path
from typing import Any

import pytest
from graphql import build_client_schema, build_schema, get_introspection_query, lexicographic_sort_schema, print_schema

from tests.graphql.attacks.requests import AS_OPERATOR, post
from tests.graphql.operations import UNKNOWN_ID, stock_of
from tests.server import Server

PUBLISHED = Path(__file__).parents[3] / "schema.graphql"

DIRECTIVES = {
    "skip without its argument": ("{ __typename @skip }", "Argument '@skip(if:)'"),
    "skip of a string": ('{ __typename @skip(if: "true") }', "Boolean cannot represent a non boolean value"),
    "skip of null": ("{ __typename @skip(if: null) }", "Expected value of non-null type 'Boolean!'"),
    "skip twice": ("{ __typename @skip(if: true) @skip(if: false) }", "can only be used once"),
    "skip on an operation": ("query @skip(if: true) { __typename }", "may not be used on query"),
    "skip on a fragment": ("{ ...F } fragment F on Query @skip(if: true) { now }", "may not be used on fragment"),
    "skip on a variable": ("query ($a: ID! @skip(if: true)) { product(id: $a) { id } }", "may not be used on variable"),
    "include by a variable without a value": ("query ($a: Boolean!) { now @include(if: $a) }", "Variable '$a'"),
    "defer": ("{ ... @defer { __typename } }", "Unknown directive '@defer'"),
    "defer on a fragment": ('{ ...F @defer(label: "x") } fragment F on Query { now }', "Unknown directive '@defer'"),
    "stream": ("{ regions @stream(initialCount: 0) { name } }", "Unknown directive '@stream'"),
    "deprecated": ("{ __typename @deprecated }", "may not be used on field"),
    "specifiedBy": ('{ __typename @specifiedBy(url: "http://evil.example") }', "may not be used on field"),
    "oneOf": ("{ __typename @oneOf }", "may not be used on field"),
    "directives without end": ("{ __typename " + "@a" * 190 + " }", "Unknown directive '@a'"),
}
OPERATIONS = {
    "two without a name": ("{ __typename } { __typename }", "must be the only defined operation"),
    "one without a name beside another": ("{ now } query A { now }", "must be the only defined operation"),
    "none but a fragment": ("fragment F on Query { __typename }", "Fragment 'F' is never used"),
    "a type": ("type Evil { id: ID } query { __typename }", "is not executable"),
    "an extension of a type": ("extend type Query { evil: String } query { __typename }", "is not executable"),
    "a schema": ("schema { query: Mutation } query { __typename }", "is not executable"),
    "a directive": ("directive @skip on FIELD query { __typename }", "is not executable"),
    "a mutation as a query": ('{ purchase(input: {productId: "x", userRef: "x"}) { status } }', "on type 'Query'"),
    "introspection as a mutation": ("mutation { __schema { queryType { name } } }", "on type 'Mutation'"),
    "introspection as a subscription": ("subscription { __typename }", "must not select an introspection"),
    "two subscriptions": (
        'subscription { a: stockChanged(productIds: ["x"]) { stock } b: stockChanged(productIds: ["x"]) { stock } }',
        "must select only one top level field",
    ),
}
SELECTIONS = {
    "fields in conflict": ("{ a: now a: __typename }", "conflict"),
    "arguments in conflict": ('{ product(id: "x") { id } product(id: "y") { id } }', "conflict"),
    "fields of a scalar": ("{ now { x } }", "must not have a selection"),
    "an object without fields": ("{ regions }", "must have a selection of subfields"),
    "an argument twice": ('{ product(id: "x", id: "y") { id } }', "only one argument named 'id'"),
    "an input field twice": (
        'mutation { cancelOrder(input: {orderId: "x", orderId: "y"}) { id } }',
        "only one input field named 'orderId'",
    ),
    "a fragment on a scalar": ("{ ... on DateTime { x } }", "non composite type"),
    "a fragment on another type": ("{ ... on Region { name } }", "can never be of type 'Region'"),
    "a fragment twice": ("{ ...F } fragment F on Query { now } fragment F on Query { now }", "only one fragment"),
    "a fragment called on": ("{ ...on } fragment on on Query { now }", "Syntax Error"),
    "a type as a string": ("{ __type(name: Query) { name } }", "String cannot represent a non string value"),
    "an inner name of Python": ("{ __class__ }", "Cannot query field '__class__'"),
    "a subgraph's schema": ("{ _service { sdl } }", "Cannot query field '_service'"),
    "a subgraph's entities": ("{ _entities(representations: []) { __typename } }", "Cannot query field '_entities'"),
    "any entity": ("{ _entities { id } }", "Cannot query field '_entities'"),
}
VARIABLES = {
    "not defined": ("{ product(id: $id) { id } }", "Variable '$id' is not defined"),
    "not used": ("query ($id: ID) { __typename }", "Variable '$id' is never used"),
    "of a type that is no input": ("query ($p: Product) { product(id: $p) { id } }", "cannot be non-input type"),
    "that may be null": ("query ($id: ID) { product(id: $id) { id } }", "expecting type 'ID!'"),
    "of another type": ("query ($n: String) { products(first: $n) { edges { cursor } } }", "expecting type 'Int'"),
    "with a wrong default": ('query ($n: Int = "x") { products(first: $n) { edges { cursor } } }', "non-integer value"),
}
TEXTS = {
    "blanks": (" \n\t,,, ", "Unexpected <EOF>"),
    "a comment": ("# nothing", "Unexpected <EOF>"),
    "NUL": ("{ __typename \0 }", "U+0000"),
    "a turn of direction": ("{ __typename \u202e }", "U+202E"),
    "letters of full width": ("{ ＿＿typename }", "U+FF3F"),
    "a string without end": ('{ product(id: "x) { id } }', "Unterminated string"),
    "a block string without end": ('{ product(id: """x) { id } }', "Unterminated string"),
    "a selection without end": ("{ __typename ", "found <EOF>"),
    "an end too many": ("{ __typename }}", "Unexpected '}'"),
    "a mark of nullability": ("{ regions! { name } }", "Expected Name, found '!'"),
    "a number with a name in it": ("{ products(first: 1e) { edges { cursor } } }", "Invalid number"),
    "JSON": ('{"query": "{ __typename }"}', "Syntax Error"),
}
REFUSED = {
    f"{kind} {name}": case
    for kind, cases in {
        "directive:": DIRECTIVES,
        "operation:": OPERATIONS,
        "selection:": SELECTIONS,
        "variable": VARIABLES,
        "text:": TEXTS,
    }.items()
    for name, case in cases.items()
}

PURCHASE = f'purchase(input: {{productId: "{UNKNOWN_ID}", userRef: "eve"}})'
ANSWERED: dict[str, tuple[str, dict[str, Any]]] = {
    "a field that is skipped": ("{ __typename @skip(if: true) }", {}),
    "a field that is skipped and included": ("{ now @skip(if: true) @include(if: true) }", {}),
    "a fragment that is not included": ("{ ...F @include(if: false) } fragment F on Query { now }", {}),
    "a purchase that is skipped": (f"mutation {{ {PURCHASE} @skip(if: true) {{ status }} }}", {}),
    "a purchase that is not included": (f"mutation {{ {PURCHASE} @include(if: false) {{ status }} }}", {}),
    "a mutation of nothing": ("mutation { __typename }", {"__typename": "Mutation"}),
    "a byte order mark": ("\ufeff{ __typename }", {"__typename": "Query"}),
    "a type that is not there": ('{ __type(name: "Evil") { name } }', {"__type": None}),
}

INJECTIONS = [
    "' OR '1'='1",
    "x'; DROP TABLE orders; --",
    "%",
    "_",
    "\\",
    "$1",
    "{{7*7}}${7*7}",
    "../../etc/passwd",
    "*",
]


@pytest.mark.parametrize(("query", "message"), REFUSED.values(), ids=REFUSED)
async def test_a_document_that_is_not_valid_is_refused(server: Server, query: str, message: str) -> None:
    (await post(server, {"query": query})).assert_refused(400, message)


@pytest.mark.parametrize(("query", "data"), ANSWERED.values(), ids=ANSWERED)
async def test_a_document_that_does_nothing_is_answered(server: Server, query: str, data: dict[str, Any]) -> None:
    (await post(server, {"query": query})).assert_data(data)


async def test_a_purchase_of_ten_aliases_with_one_key_is_one_order(server: Server) -> None:
    product_id = await server.create_product(10)
    wanted = f'purchase(input: {{productId: "{product_id}", userRef: "eve", idempotencyKey: "one"}})'
    aliased = " ".join(f"a{number}: {wanted} {{ ... on PurchaseConfirmed {{ replayed }} }}" for number in range(10))
    answer = await post(server, {"query": f"mutation {{ {aliased} }}"}, AS_OPERATOR)
    answer.assert_data({f"a{number}": {"replayed": number > 0} for number in range(10)})
    assert await stock_of(server, product_id) == 9


@pytest.mark.parametrize("text", INJECTIONS)
async def test_a_hostile_text_is_only_a_value(server: Server, text: str) -> None:
    assert await server.create_product(dropName="Not to be found")
    query = """
    query ($text: String) {
      products(dropName: $text) { edges { cursor } }
      orders(userRef: $text) { edges { cursor } }
    }
    """
    answer = await post(server, {"query": query, "variables": {"text": text}}, AS_OPERATOR)
    answer.assert_data({"products": {"edges": []}, "orders": {"edges": []}})


async def test_introspection_shows_the_published_schema_and_nothing_else(server: Server) -> None:
    shown = (await post(server, {"query": get_introspection_query(specified_by_url=True)})).json["data"]
    published = build_schema(PUBLISHED.read_text(encoding="utf-8"))
    assert print_schema(lexicographic_sort_schema(build_client_schema(shown))) == print_schema(
        lexicographic_sort_schema(published)
    )


async def test_a_misspelt_field_is_answered_with_names_of_the_published_schema(server: Server) -> None:
    answer = await post(server, {"query": "{ prodcts { edges { cursor } } }"})
    answer.assert_refused(400, "Did you mean 'products' or 'product'?")


@pytest.mark.parametrize(
    "extensions",
    [
        {"tracing": True},
        {"debug": True, "includeStacktrace": True},
        {"persistedQuery": {"version": 1, "sha256Hash": 0}},
        {"headers": {"authorization": "Bearer x"}, "variables": {"a": 1}},
    ],
    ids=lambda extensions: next(iter(extensions)),
)
async def test_extensions_have_no_effect(server: Server, extensions: dict[str, Any]) -> None:
    plain = await post(server, {"query": "{ __typename }"})
    tracing = [("x-apollo-tracing", "1"), ("apollo-federation-include-trace", "ftv1"), ("x-debug", "1")]
    answer = await post(server, {"query": "{ __typename }", "extensions": extensions}, *tracing)
    answer.assert_data({"__typename": "Query"})
    assert answer.headers.keys() == plain.headers.keys()
    only = {"extensions": extensions}
    (await post(server, only)).assert_refused(400, "query must be a GraphQL document")
