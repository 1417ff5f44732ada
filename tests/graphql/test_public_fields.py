"""Which fields are public, so that requests can share an execution of them, and which are the caller's."""

from collections.abc import Iterator
from typing import Annotated

import pytest
import strawberry
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    get_introspection_query,
    get_named_type,
)

from api.graphql.documents import Document, Documents
from api.graphql.public import PUBLIC, public_queries
from tests.graphql.documents import turns

FIELDS = {
    "public": """
        Query.now Query.product Query.products Query.regions
        PageInfo.endCursor PageInfo.hasNextPage PageInfo.hasPreviousPage PageInfo.startCursor
        Product.createdAt Product.dropName Product.holdSeconds Product.id Product.limitPerBuyer Product.name
        Product.opensAt Product.soldOut Product.stock Product.stocked Product.version
        ProductConnection.edges ProductConnection.pageInfo
        ProductEdge.cursor ProductEdge.node
        Region.healthy Region.home Region.latencyMs Region.name
    """,
    "the caller's": """
        Query.order Query.orders Query.viewer
        Mutation.cancelOrder Mutation.confirmOrder Mutation.createProduct Mutation.guest Mutation.purchase
        Mutation.releaseOrder Mutation.restock
        Subscription.stockChanged
        GuestToken.expiresAt GuestToken.subject GuestToken.token
        Order.confirmedAt Order.createdAt Order.heldUntil Order.id Order.paymentRef Order.product Order.quantity
        Order.reference Order.region Order.status Order.userRef
        OrderConfirmed.order OrderConfirmed.replayed
        OrderConnection.edges OrderConnection.pageInfo
        OrderEdge.cursor OrderEdge.node
        OrderGone.message OrderGone.order
        PurchaseBusy.attempts PurchaseBusy.message PurchaseBusy.region PurchaseBusy.retryAfterMs PurchaseBusy.status
        PurchaseCancelled.attempts PurchaseCancelled.message PurchaseCancelled.order PurchaseCancelled.region
        PurchaseCancelled.status
        PurchaseConfirmed.attempts PurchaseConfirmed.message PurchaseConfirmed.order PurchaseConfirmed.region
        PurchaseConfirmed.remaining PurchaseConfirmed.replayed PurchaseConfirmed.status
        PurchaseHeld.attempts PurchaseHeld.heldUntil PurchaseHeld.message PurchaseHeld.order PurchaseHeld.region
        PurchaseHeld.remaining PurchaseHeld.replayed PurchaseHeld.status
        PurchaseLimitReached.attempts PurchaseLimitReached.held PurchaseLimitReached.limit PurchaseLimitReached.message
        PurchaseLimitReached.region PurchaseLimitReached.status
        PurchaseNotOpen.attempts PurchaseNotOpen.message PurchaseNotOpen.opensAt PurchaseNotOpen.region
        PurchaseNotOpen.status
        PurchaseResult.attempts PurchaseResult.message PurchaseResult.region PurchaseResult.status
        PurchaseSoldOut.attempts PurchaseSoldOut.message PurchaseSoldOut.region PurchaseSoldOut.remaining
        PurchaseSoldOut.status
        StockChange.productId StockChange.soldOut StockChange.stale StockChange.stock StockChange.version
        Viewer.guest Viewer.roles Viewer.subject
    """,
}
"""Every field of the schema. A public field has the same value for every caller. Decide for each new field, and declare
a public one with `metadata=PUBLIC` if it has a resolver. When in doubt, it is the caller's."""


def selections(schema: GraphQLSchema, field: GraphQLField, coordinates: set[str]) -> str:
    """The selection of everything in a field. Adds the coordinates of the selected fields."""
    kind = get_named_type(field.type)
    if isinstance(kind, GraphQLInterfaceType | GraphQLUnionType):
        inner = "".join(
            f"... on {each.name} {of_type(schema, each, coordinates)}" for each in schema.get_possible_types(kind)
        )
        return f"{{ {inner} }}"
    return of_type(schema, kind, coordinates) if isinstance(kind, GraphQLObjectType) else ""


def of_type(schema: GraphQLSchema, kind: GraphQLObjectType, coordinates: set[str]) -> str:
    coordinates |= {f"{kind.name}.{name}" for name in kind.fields}
    return f"{{ {' '.join(f'{name} {selections(schema, each, coordinates)}' for name, each in kind.fields.items())} }}"


def arguments(field: GraphQLField) -> str:
    required = [name for name, argument in field.args.items() if str(argument.type).endswith("!")]
    return f"({', '.join(f'{name}: 1' for name in required)})" if required else ""


def queries(schema: GraphQLSchema) -> Iterator[tuple[str, set[str]]]:
    """A query for each field of Query with everything in it, and the coordinates of its fields."""
    assert schema.query_type is not None
    for name, field in schema.query_type.fields.items():
        coordinates = {f"Query.{name}"}
        yield f"{{ {name}{arguments(field)} {selections(schema, field, coordinates)} }}", coordinates


def prepared(schema: GraphQLSchema, text: str) -> Document:
    return Documents(schema, turns()).prepare(text)


def is_public(schema: GraphQLSchema, text: str, name: str | None = None) -> bool:
    return prepared(schema, text).operations[name].public


def test_every_field_is_decided_and_shared_only_if_it_is_public(schema: GraphQLSchema) -> None:
    every = {
        f"{kind.name}.{name}"
        for kind in schema.type_map.values()
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and not kind.name.startswith("__")
        for name in kind.fields
    }
    shared = set().union(*(coordinates for query, coordinates in queries(schema) if is_public(schema, query)))

    assert shared == set(FIELDS["public"].split())
    assert every - shared == set(FIELDS["the caller's"].split())


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("{ now }", True),
        ("{ __typename now __schema { queryType { name } } }", True),
        ("{ viewer: now }", True),
        ("{ now: viewer { subject } }", False),
        ("{ now viewer { subject } }", False),
        ("{ now ... { viewer { subject } } }", False),
        ("{ now ...Own } fragment Own on Query { ...Deeper } fragment Deeper on Query { viewer { subject } }", False),
        ("query ($with: Boolean!) { now viewer @include(if: $with) { subject } }", False),
        ("{ orders { edges { node { product { stock } } } } }", False),
        ("mutation { guest { token } }", False),
        ('subscription { stockChanged(productIds: ["x"]) { stock } }', False),
        ("mutation { __typename }", False),
        ("{ __typename }", False),
        (get_introspection_query(), False),
    ],
)
def test_an_operation_is_public_if_all_its_fields_are(schema: GraphQLSchema, text: str, public: bool) -> None:
    """Introspection is not: its responses are kept."""
    assert is_public(schema, text, "IntrospectionQuery" if "IntrospectionQuery" in text else None) is public


def test_each_operation_of_a_document_is_decided_by_itself(schema: GraphQLSchema) -> None:
    document = prepared(
        schema, "query Clock { now } query Own { viewer { subject } } mutation Guest { guest { token } }"
    )

    assert {name: operation.public for name, operation in document.operations.items()} == {
        "Clock": True,
        "Own": False,
        "Guest": False,
    }


def nothing() -> None:
    """A resolver."""


@strawberry.type
class Plain:
    name: str
    declared: "Plain | None" = strawberry.field(resolver=nothing, metadata=PUBLIC)


@strawberry.interface
class Thing:
    name: str


@strawberry.type
class Sold(Thing):
    mine: bool | None = strawberry.field(resolver=nothing)


@strawberry.type
class Query:
    plain: list[Plain] | None = strawberry.field(resolver=nothing, metadata=PUBLIC)
    undeclared: Plain | None = strawberry.field(resolver=nothing)
    denied: str | None = strawberry.field(resolver=nothing, metadata={"public": False})
    sold: list[Sold] | None = strawberry.field(resolver=nothing, metadata=PUBLIC)
    thing: Thing | None = strawberry.field(resolver=nothing, metadata=PUBLIC)
    either: Annotated[Plain | Sold, strawberry.union("Either")] | None = strawberry.field(
        resolver=nothing, metadata=PUBLIC
    )


def test_a_field_is_the_callers_if_a_field_in_it_has_a_resolver_that_is_not_declared() -> None:
    schema = strawberry.Schema(Query, types=[Sold])._schema

    assert public_queries(schema) == {"plain"}


def test_a_field_that_strawberry_has_not_made_is_the_callers() -> None:
    assert public_queries(build_schema("type Query { now: String }")) == frozenset()
