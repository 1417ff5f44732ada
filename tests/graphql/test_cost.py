"""The cost of an operation: how it is counted before the operation runs, and which callers it is limited for."""

import asyncio
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest
from graphql import (
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    get_introspection_query,
    get_named_type,
    is_leaf_type,
)

from api.graphql.cost import LONG, MAX_COST, MAX_ROWS, SEARCHED, UNPAGED_ROWS
from api.graphql.documents import Documents
from api.identity.turns import Turns
from api.storefront.pages import documents as storefront_documents
from tests.graphql.costs import EACH, cost, of_rows
from tests.graphql.transport import connected
from tests.server import ADMIN_TOKEN, Server

FRONTEND_PAGE = Path(__file__).parents[2] / "docs" / "frontend.md"

ALL_OF_A_PRODUCT = "id name dropName stock soldOut stocked version opensAt limitPerBuyer createdAt"
PAGE = f"edges {{ cursor node {{ {ALL_OF_A_PRODUCT} }} }} pageInfo {{ hasNextPage endCursor }}"
TOO_COSTLY = f"{{ a: products(first: 100) {{ {PAGE} }} b: products(first: 100) {{ {PAGE} }} }}"

BUYER = "a buyer of everything"


@pytest.fixture(scope="module")
def documents(schema: GraphQLSchema) -> Documents:
    return Documents(schema, Turns(0.1, 0.4))


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


def test_lists_in_the_rows_of_a_list_count_for_each_row(documents: Documents) -> None:
    text = "{ drops(first: 7) { nodes { slug products(last: 3) { nodes { name } } } } }"
    assert cost(documents, text) == 2 + 7 * (2 + 1 + 3)


def test_a_filter_counts_as_many_fields(documents: Documents) -> None:
    text = "{ products(first: 2, filter: { family: null }) { nodes { name } } }"
    assert cost(documents, text) == 2 + SEARCHED["argument_costs"]["filter"] + 2


def test_a_long_text_counts_as_many_fields(documents: Documents) -> None:
    text = "{ products(first: 8) { edges { node { name description } } } }"
    assert cost(documents, text) == 2 + 8 * (2 + LONG["cost"])
    assert cost(documents, '{ __type(name: "Product") { description } }') == 2


def test_each_operation_of_a_document_has_its_own_cost_and_its_own_variables(documents: Documents) -> None:
    text = "query A($n: Int = 3) { ...P } query B($n: Int = 4) { ...P now } fragment P on Query { {} }".replace(
        "{}", EACH.format("first: $n")
    )
    assert cost(documents, text, {}, "A") == of_rows(3)
    assert cost(documents, text, {}, "B") == of_rows(4) + 1
    assert cost(documents, text, {"n": 6}, "B") == of_rows(6) + 1
    assert None not in documents.prepare(text).operations


@pytest.mark.parametrize(
    "text",
    [
        "{ products(first: 8) { edges { ...E } } } fragment E on ProductEdge { cursor node { ...N } } "
        "fragment N on Product { name }",
        "{ ... { products(first: 8) { ... on ProductConnection { edges { ... { cursor node { ... on Product "
        "{ name } } } } } } } }",
        "{ ...Q } fragment Q on Query { products(first: 8) { edges { cursor node { name } } } }",
        "{ p: products(first: 8) { e: edges { c: cursor n: node { u: name } } } }",
        "query ($yes: Boolean = true) { products(first: 8) @include(if: $yes) "
        "{ edges { cursor node { name @skip(if: $yes) } } } }",
    ],
)
def test_fragments_aliases_and_directives_change_nothing(documents: Documents, text: str) -> None:
    assert cost(documents, text) == of_rows(8)


def test_a_fragment_is_counted_for_each_spread(documents: Documents) -> None:
    spread = f"fragment P on Query {{ {EACH.format('first: 8')} }}"
    assert cost(documents, f"{{ ...P ...P }} {spread}") == 2 * of_rows(8)


def test_aliases_add_up(documents: Documents) -> None:
    pages = " ".join(f"p{number}: {EACH.format(f'first: {number}')}" for number in range(1, 11))
    assert cost(documents, f"{{ {pages} }}") == sum(of_rows(number) for number in range(1, 11))


def test_the_fields_of_a_row_are_counted_for_each_row(documents: Documents) -> None:
    query = '{ orders(userRef: "ada", first: 9) { edges { node { product { name stock } } } pageInfo { endCursor } } }'
    assert cost(documents, query) == 2 + 9 * (1 + 1 + 2) + 2


def test_a_list_without_pages_counts_as_a_short_one(documents: Documents) -> None:
    assert cost(documents, "{ regions { name home } }") == 1 + UNPAGED_ROWS * 2


def test_mutations_and_subscriptions_are_counted_as_queries_are(documents: Documents) -> None:
    outcome = "status ... on PurchaseConfirmed { order { id } }"
    assert cost(documents, f'mutation {{ purchase(input: {{ productId: "x", userRef: "a" }}) {{ {outcome} }} }}') == 4
    assert cost(documents, 'subscription { stockChanged(productIds: ["x"]) { stock version } }') == 3


async def test_a_costly_operation_is_refused_over_http(server: Server) -> None:
    code, message = await server.refusal(TOO_COSTLY)

    assert code == "BAD_USER_INPUT"
    assert message == (
        "The operation asks for up to 2410 fields, rows times fields; 2000 are allowed. "
        "Ask for fewer rows, or fewer fields of each."
    )
    answer = await server.ask(TOO_COSTLY)
    assert "data" not in answer


async def test_a_costly_operation_is_refused_over_a_websocket_that_stays_open(server: Server) -> None:
    async with connected(server) as client:
        await client.subscribe(TOO_COSTLY)
        assert await client.error() == await server.refusal(TOO_COSTLY)
        assert await client.answer("{ __typename }", id="next") == {"__typename": "Query"}


async def test_the_variables_decide_whether_an_operation_is_too_costly(server: Server) -> None:
    query = f"query ($n: Int) {{ a: products(first: $n) {{ {PAGE} }} b: products(first: $n) {{ {PAGE} }} }}"

    for variables in ({"n": 100}, {"n": None}, {}, None):
        assert (await server.refusal(query, variables))[1].startswith("The operation asks for up to 2410 fields")
    assert (await server.data(query, {"n": 1})).keys() == {"a", "b"}


async def test_the_cost_is_not_limited_for_the_operator(server: Server) -> None:
    assert (await server.data(TOO_COSTLY, token=ADMIN_TOKEN)).keys() == {"a", "b"}
    async with connected(server, init=False) as client:
        await client.init({"authorization": f"Bearer {ADMIN_TOKEN}"})
        assert (await client.answer(TOO_COSTLY)).keys() == {"a", "b"}


async def test_an_unknown_operation_name_is_refused_as_such(server: Server) -> None:
    body = {"query": f"query A {TOO_COSTLY} query B {{ now }}", "operationName": "C"}
    async with server.session.post(f"{server.url}/graphql", json=body) as response:
        [error] = (await response.json())["errors"]
    assert error["message"] == "Unknown operation named 'C'."


async def test_introspection_is_not_counted(server: Server) -> None:
    assert (await server.data(get_introspection_query()))["__schema"]["types"]
    twice = "{ a: __schema { types { fields { name } } } b: __schema { types { fields { name } } } }"
    assert (await server.data(twice)).keys() == {"a", "b"}


async def test_introspection_beside_something_else_is_counted_with_it(server: Server) -> None:
    query = get_introspection_query().replace("__schema {", f"now {EACH.format('first: 1')} __schema {{", 1)
    assert (await server.refusal(query))[1].startswith("The operation asks for up to ")


def example_documents() -> list[str]:
    """The documents of the examples in docs/frontend.md."""
    code = "".join(re.findall(r"^```js\n(.*?)^```$", FRONTEND_PAGE.read_text(encoding="utf-8"), re.M | re.S))
    return re.findall(r'query: [`"]((?:mutation|query|subscription)[^`"]*)[`"]', code)


def test_operations_of_our_pages_cost_at_most_half_the_limit(documents: Documents) -> None:
    examples = example_documents()
    assert len(examples) == 3
    for text in (*storefront_documents(), *examples):
        assert cost(documents, text) <= MAX_COST / 2, text


def test_a_full_page_with_all_fields_is_allowed(documents: Documents) -> None:
    all_of_a_page = (
        f"{{ products(first: 100) {{ {PAGE.replace('pageInfo {', 'pageInfo { hasPreviousPage startCursor')} }} }}"
    )
    assert cost(documents, all_of_a_page) <= MAX_COST


def resolved(value: Any) -> int:
    """The number of resolved fields in an answer: one for each name of each of its objects."""
    if isinstance(value, list):
        return sum(map(resolved, value))
    return len(value) + sum(map(resolved, value.values())) if isinstance(value, dict) else 0


class Author:
    """Writes a query at random. The same seed writes the same query."""

    def __init__(self, schema: GraphQLSchema, seed: int) -> None:
        self._schema = schema
        self._chance = Random(seed)  # noqa: S311
        self._fragments: list[str] = []
        self._aliases = 8
        self.variables: dict[str, int | None] = {}

    def query(self) -> str:
        root = self._schema.query_type
        assert root is not None
        names = ["products", "orders", "now", "regions", "products", "__typename"]
        selected = [self._field(root, name) for name in self._chance.sample(names, self._chance.randint(1, 4))]
        declared = ", ".join(f"${name}: Int = {self._chance.choice(['3', 'null', '60'])}" for name in self.variables)
        for name in [name for name, value in self.variables.items() if value == 0]:
            del self.variables[name]  # so that its default is used
        return " ".join([f"query {f'({declared})' if declared else ''} {{ {' '.join(selected)} }}", *self._fragments])

    def _field(self, parent: GraphQLNamedType, name: str) -> str:
        alias = ""
        if self._aliases and (name in ("products", "orders") or self._chance.random() < 0.1):
            alias = f"a{self._aliases}: "  # so that a second page is one of its own
            self._aliases -= 1
        if name == "__typename":
            return alias + name
        assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType)
        kind = get_named_type(parent.fields[name].type)
        arguments = self._arguments() if name in ("products", "orders") else ""
        if name == "orders":
            arguments = f"({', '.join(filter(None, [f'userRef: {chr(34)}{BUYER}{chr(34)}', arguments[1:-1]]))})"
        return f"{alias}{name}{arguments}" + ("" if is_leaf_type(kind) else f" {{ {self._selections(kind)} }}")

    def _arguments(self) -> str:
        match self._chance.randrange(4):
            case 0:
                return ""
            case 1:
                return "(first: null)"
            case 2:
                return f"({self._chance.choice(['first', 'last'])}: {self._chance.randint(1, 100)})"
            case _:
                name = f"v{len(self.variables)}"
                self.variables[name] = self._chance.choice([0, None, 1, 40, 100])
                return f"(first: ${name})"

    def _selections(self, kind: GraphQLNamedType) -> str:
        assert isinstance(kind, GraphQLObjectType)
        # The products of a drop have drops again, and an operator's query of a few levels has millions of fields.
        names = [name for name in (*kind.fields, "__typename") if name != "drop"]
        chosen = self._chance.sample(names, self._chance.randint(1, len(names)))
        if "edges" in names and "edges" not in chosen:
            chosen.append("edges")
        text = " ".join(self._field(kind, name) for name in chosen)
        match self._chance.randrange(5):
            case 0:
                return f"... on {kind.name} {{ {text} }}"
            case 1:
                self._fragments.append(f"fragment F{len(self._fragments)} on {kind.name} {{ {text} }}")
                return f"...F{len(self._fragments) - 1}"
        return text


@pytest.mark.slow
async def test_no_answer_has_more_fields_than_were_counted(
    server: Server, schema: GraphQLSchema, documents: Documents
) -> None:
    product_id = await server.create_product(stock=1_000)
    creating = [server.create_product() for _ in range(MAX_ROWS)]
    buying = [server.purchase(product_id, BUYER) for _ in range(MAX_ROWS + 1)]
    await asyncio.gather(*creating, *buying)

    exact, largest = 0, 0
    for seed in range(60):
        author = Author(schema, seed)
        text = author.query()
        answer = await server.data(text, author.variables, token=ADMIN_TOKEN)
        counted, came = cost(documents, text, author.variables), resolved(answer)
        assert came <= counted, (seed, text, author.variables)
        exact += came == counted
        largest = max(largest, came)

    assert exact > 5, "hardly any count is exact: too much is counted"
    assert largest > MAX_COST / 2, "no answer was large enough for this test"
