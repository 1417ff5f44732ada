"""The rows that the arguments of a field ask for, as the cost of an operation counts them."""

from typing import Any

import pytest
from graphql import GraphQLSchema

from api.drops.keyset import DEFAULT_PAGE
from api.graphql.cost import MAX_ROWS
from api.graphql.documents import Documents
from api.identity.turns import Turns
from tests.graphql.costs import EACH, cost, of_rows


@pytest.fixture(scope="module")
def documents(schema: GraphQLSchema) -> Documents:
    return Documents(schema, Turns(0.1, 0.4))


@pytest.mark.parametrize(
    ("argument", "rows"),
    [
        ("first: 7", 7),
        ("first: 1", 1),
        ("first: 0", 0),
        ("first: -3", 0),  # the resolver refuses -3, 101 and 2147483647 before it reads a row
        ("first: 101", MAX_ROWS),
        ("first: 2147483647", MAX_ROWS),
        ("first: null", DEFAULT_PAGE),
        ('after: "x"', DEFAULT_PAGE),
    ],
)
def test_a_literal_names_the_rows(documents: Documents, argument: str, rows: int) -> None:
    assert cost(documents, f"{{ {EACH.format(argument)} }}") == of_rows(rows)


@pytest.mark.parametrize(
    ("variables", "rows"),
    [
        ({"first": 7}, 7),
        ({"first": -1}, 0),
        ({"first": 0}, 0),
        ({"first": 5000}, MAX_ROWS),
        ({"first": 10**30}, MAX_ROWS),
        ({"first": None}, MAX_ROWS),
        ({"first": "7"}, MAX_ROWS),
        ({"first": 7.0}, MAX_ROWS),
        ({"first": [7]}, 1),  # which no execution accepts, either
        ({"first": {"first": 7}}, MAX_ROWS),
        ({"last": 7}, MAX_ROWS),
        ({}, MAX_ROWS),
    ],
)
def test_a_variable_names_the_rows_or_the_most_are_counted(
    documents: Documents, variables: dict[str, Any], rows: int
) -> None:
    assert cost(documents, f"query ($first: Int) {{ {EACH.format('first: $first')} }}", variables) == of_rows(rows)


@pytest.mark.parametrize(
    ("default", "variables", "rows"),
    [
        ("5", {}, 5),
        ("5", {"first": 9}, 9),
        ("5", {"first": None}, MAX_ROWS),
        ("5", {"first": "9"}, MAX_ROWS),
        ("-5", {}, 0),
        ("5000", {}, MAX_ROWS),
        ("null", {}, MAX_ROWS),
    ],
)
def test_a_variable_that_is_left_out_has_its_default(
    documents: Documents, default: str, variables: dict[str, Any], rows: int
) -> None:
    query = f"query ($first: Int = {default}) {{ {EACH.format('first: $first')} }}"
    assert cost(documents, query, variables) == of_rows(rows)


@pytest.mark.parametrize(
    ("arguments", "variables", "rows"),
    [
        ("last: 7", {}, 7),
        ("first: null, last: 7", {}, 7),
        ("first: 9, last: 7", {}, 9),  # refused by the resolver
        ("first: $first, last: $last", {"first": 5, "last": None}, 5),
        ("first: $first, last: $last", {"first": None, "last": 5}, 5),
        ("first: $first, last: 7", {}, 7),
        ("first: $first, last: $last", {}, MAX_ROWS),
    ],
)
def test_both_directions_name_the_rows(
    documents: Documents, arguments: str, variables: dict[str, Any], rows: int
) -> None:
    definitions = [f"${name}: Int" for name in ("first", "last") if f"${name}" in arguments]
    operation = f"query ({', '.join(definitions)})" if definitions else "query"
    assert cost(documents, f"{operation} {{ {EACH.format(arguments)} }}", variables) == of_rows(rows)


@pytest.mark.parametrize(
    ("ids", "rows"), [(["x"] * 7, 7), (["x"] * 101, MAX_ROWS), ([], 0), ("x", MAX_ROWS), (None, MAX_ROWS)]
)
def test_ids_count_as_rows(documents: Documents, ids: Any, rows: int) -> None:
    for field in ("nodes", "productsByIds"):
        text = f"query ($ids: [ID!]!) {{ {field}(ids: $ids) {{ id }} }}"
        assert cost(documents, text, {"ids": ids}) == 1 + rows
        assert cost(documents, f'{{ {field}(ids: ["x", "y"]) {{ id }} }}') == 1 + 2
