"""Every document of this repository is answered alike both ways, by a shop that works, is slow, or is away."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    get_introspection_query,
    type_from_ast,
)

from api.graphql.documents import Document
from api.graphql.validation import InvalidDocument
from tests.graphql.differential.canned import ORDERS, PRODUCTS, in_a_shop
from tests.graphql.differential.collection import documents
from tests.graphql.differential.comparison import both
from tests.graphql.differential.script import Plan
from tests.graphql.differential.ways import Ways

PLANS = (
    Plan(),
    Plan(seed=1, waits=0.5, coroutines=0.3),
    Plan(seed=2, faults=0.3, waits=0.2),
    Plan(seed=3, faults=1.0),
)

FEWEST = 120
"""Documents that are valid for the API's schema. There were 143 when this was written."""

VALUES = {
    "Int": 2,
    "Float": 0.5,
    "Boolean": True,
    "ID": str(PRODUCTS[0].id),
    "String": "ada",
    "DateTime": "2026-12-01T10:00:00Z",
    "OrderStatus": "CONFIRMED",
    "Availability": "ON_SALE",
    "ProductSort": "NEWEST",
}
NAMED = {
    "orderId": str(ORDERS[0].id),
    "order": str(ORDERS[0].id),
    "region": "home",
    "one": "home",
    "two": "peer",
    "after": None,
}


def value_of(type_: GraphQLInputType, name: str) -> Any:
    """A value for a variable, or for a field of an input object, that leads to an answer."""
    if isinstance(type_, GraphQLNonNull):
        return value_of(type_.of_type, name)
    if name in NAMED:
        return NAMED[name]
    if isinstance(type_, GraphQLList):
        return [value_of(type_.of_type, name)]
    if isinstance(type_, GraphQLInputObjectType):
        return {name: value_of(field.type, name) for name, field in type_.fields.items()}
    return VALUES[type_.name]


def values_for(schema: GraphQLSchema, operation: OperationDefinitionNode) -> list[Mapping[str, Any]]:
    """Values of the operation's variables: good ones, nulls, wrong ones, and none at all."""
    types = {
        definition.variable.name.value: cast("GraphQLInputType", type_from_ast(schema, definition.type))
        for definition in operation.variable_definitions or ()
    }
    if not types:
        return [{}]
    return [
        {name: value_of(type_, name) for name, type_ in types.items()},
        dict.fromkeys(types),
        {name: {"productId": 5, "unknown": True} for name in types},
        {},
    ]


@pytest.fixture(scope="module")
def valid(real: Ways) -> list[Document]:
    """Every document that is valid for the API's schema."""
    found = []
    for text in [*documents(), get_introspection_query()]:
        try:
            found.append(real.prepare(text))
        except InvalidDocument:
            continue
    return found


def test_every_document_of_this_repository(real: Ways, valid: list[Document]) -> None:
    executed = answered = 0
    for document in valid:
        for definition in document.syntax_tree.definitions:
            if (
                not isinstance(definition, OperationDefinitionNode)
                or definition.operation is OperationType.SUBSCRIPTION
            ):
                continue
            executed += 1
            name = None if definition.name is None else definition.name.value
            for number, variables in enumerate(values_for(real.schema, definition)):
                for plan in PLANS if number == 0 else PLANS[:1]:
                    answer = both(real, document, plan, variables, name, context=in_a_shop)
                    answered += "errors" not in answer.response
    assert executed >= FEWEST
    assert answered >= 2 * FEWEST
