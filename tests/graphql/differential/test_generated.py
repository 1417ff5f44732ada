"""Documents that are made from a schema, and varied, are answered alike both ways.

DIFFERENTIAL_DOCUMENTS=5000 makes more documents of each kind, and DIFFERENTIAL_SEED=n other ones.
"""

import os
from collections import Counter
from collections.abc import Callable

import pytest
from graphql import DocumentNode, OperationType, StringValueNode, parse_value
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import mutations, queries

from api.graphql.schema import make_schema
from api.graphql.validation import InvalidDocument
from tests.graphql.differential.canned import in_a_shop
from tests.graphql.differential.comparison import both
from tests.graphql.differential.generation import make_operation
from tests.graphql.differential.script import Plan, Scripted, scripted
from tests.graphql.differential.synthetic import synthetic_schema
from tests.graphql.differential.variation import vary
from tests.graphql.differential.ways import Ways

SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))

DOCUMENTS = int(os.environ.get("DIFFERENTIAL_DOCUMENTS", "40"))
"""Documents of each kind that this project makes itself. hypothesis-graphql, which takes ten times as long for each,
makes a fifth of that number."""

by_hypothesis = settings(
    max_examples=max(DOCUMENTS // 5, 1),
    database=None,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)

SCALARS = {
    "Stamp": st.just(StringValueNode(value="a stamp")),
    "Json": st.sampled_from(["{a: 1}", '[1, "x"]', "null"]).map(parse_value),
    "DateTime": st.just(StringValueNode(value="2026-12-01T10:00:00Z")),
}
"""Literals of the scalars that GraphQL itself does not have."""


def unprinted(document: DocumentNode) -> DocumentNode:
    return document


KINDS = {
    "synthetic queries": (synthetic_schema, OperationType.QUERY),
    "synthetic mutations": (synthetic_schema, OperationType.MUTATION),
    "real queries": (lambda: make_schema()._schema, OperationType.QUERY),
    "real mutations": (lambda: make_schema()._schema, OperationType.MUTATION),
}


def plan_for(seed: int) -> Plan:
    """Every second plan has faults, and half of them have fields that are late."""
    return Plan(seed=seed, faults=(0.0, 0.06, 0.0, 0.2)[seed % 4], waits=(0.0, 0.3)[seed // 4 % 2], coroutines=0.1)


def assert_alike(
    ways: Ways, document: DocumentNode, seed: int, context: Callable[[Plan], Scripted], seen: Counter[str]
) -> None:
    """Execute a variation of the document, with several values of its variables. Counts what the answers had."""
    varied = vary(ways.schema, document, seed)
    try:
        prepared = ways.prepare(varied.text)
    except InvalidDocument:
        seen["invalid"] += 1
        return
    seen["valid"] += 1
    for number, variables in enumerate(varied.variables):
        names = varied.names if number == 0 else varied.names[:1]
        for name in names:
            plan = plan_for(seed + number)
            answer = both(ways, prepared, plan, variables, name, context=context)
            seen["with errors" if "errors" in answer.response else "without errors"] += 1
            seen["with data"] += answer.response.get("data") is not None


def check(seen: Counter[str]) -> None:
    """The documents must have been worth making: most are valid, and they have answers of every kind."""
    assert seen["valid"] > 2 * seen["invalid"], seen
    assert min(seen["with errors"], seen["without errors"], seen["with data"]) > seen["valid"] / 4, seen


def ways_of(kind: str, request: pytest.FixtureRequest) -> tuple[Ways, Callable[[Plan], Scripted]]:
    ways: Ways = request.getfixturevalue(kind.split()[0])
    return ways, in_a_shop if kind.startswith("real") else scripted


@pytest.mark.parametrize("kind", KINDS)
def test_documents_that_this_project_makes(kind: str, request: pytest.FixtureRequest) -> None:
    ways, context = ways_of(kind, request)
    _, type_ = KINDS[kind]
    seen = Counter[str]()
    for number in range(DOCUMENTS):
        seed = SEED * 1_000_000 + number
        assert_alike(ways, make_operation(ways.schema, type_, seed), seed, context, seen)
    check(seen)


@pytest.mark.parametrize("kind", KINDS)
def test_documents_that_hypothesis_graphql_makes(kind: str, request: pytest.FixtureRequest) -> None:
    ways, context = ways_of(kind, request)
    make_schema_of_kind, type_ = KINDS[kind]
    make = queries if type_ is OperationType.QUERY else mutations
    schema = make_schema_of_kind()
    scalars = {name: literals for name, literals in SCALARS.items() if name in schema.type_map}
    seen = Counter[str]()

    @by_hypothesis
    @given(make(schema, custom_scalars=scalars, print_ast=unprinted), st.integers(0, 2**20))
    def execute(document: DocumentNode, seed: int) -> None:
        assert_alike(ways, document, SEED * 1_000_000 + seed, context, seen)

    execute()
    assert seen["valid"] > seen["invalid"] / 2, seen  # it makes long documents: many have more tokens than allowed
