"""Documents that are made from a schema, and varied, are answered alike both ways.

DIFFERENTIAL_DOCUMENTS=5000 makes more documents of each kind, and DIFFERENTIAL_SEED=n other ones.
"""

import os
from collections import Counter
from collections.abc import Callable

import pytest
from graphql import DocumentNode, OperationType, StringValueNode, parse, parse_value
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis_graphql import mutations, queries

from api.graphql.validation import InvalidDocument
from tests.graphql.differential.canned import in_a_shop
from tests.graphql.differential.comparison import both
from tests.graphql.differential.generation import make_operation
from tests.graphql.differential.script import Plan, Scripted, scripted
from tests.graphql.differential.variation import vary
from tests.graphql.differential.ways import Ways

SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))

DOCUMENTS = int(os.environ.get("DIFFERENTIAL_DOCUMENTS", "35"))
"""Documents of each kind that this project makes itself. hypothesis-graphql, which is ten times as slow, makes a fifth
of that number."""

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


KINDS = [
    ("synthetic", OperationType.QUERY),
    ("synthetic", OperationType.MUTATION),
    ("real", OperationType.QUERY),
    ("real", OperationType.MUTATION),
]
"""The fixture of a schema, and the operations that are made from it."""

CONTEXTS = {"synthetic": scripted, "real": in_a_shop}


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


@pytest.mark.parametrize(("schema", "type_"), KINDS)
def test_documents_that_this_project_makes(schema: str, type_: OperationType, request: pytest.FixtureRequest) -> None:
    ways: Ways = request.getfixturevalue(schema)
    seen = Counter[str]()
    for number in range(DOCUMENTS):
        seed = SEED * 1_000_000 + number
        assert_alike(ways, make_operation(ways.schema, type_, seed), seed, CONTEXTS[schema], seen)
    check(seen)


@pytest.mark.parametrize(("schema", "type_"), KINDS)
def test_documents_that_hypothesis_graphql_makes(
    schema: str, type_: OperationType, request: pytest.FixtureRequest
) -> None:
    ways: Ways = request.getfixturevalue(schema)
    make = queries if type_ is OperationType.QUERY else mutations
    scalars = {name: literals for name, literals in SCALARS.items() if name in ways.schema.type_map}
    seen = Counter[str]()

    @by_hypothesis
    @given(make(ways.schema, custom_scalars=scalars), st.integers(0, 2**20))
    def execute(text: str, seed: int) -> None:
        assert_alike(ways, parse(text), SEED * 1_000_000 + seed, CONTEXTS[schema], seen)

    execute()
    assert seen["valid"] > seen["invalid"] / 2, seen  # it makes long documents: many have more tokens than allowed
