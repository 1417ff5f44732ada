"""Which fields are public, so that requests can share an execution of them, and which are the caller's."""

from typing import Annotated

import pytest
import strawberry
from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    get_introspection_query,
    get_named_type,
    is_abstract_type,
    is_composite_type,
)

from api.graphql.documents import Document, Documents
from api.graphql.public import PUBLIC
from tests.graphql.documents import turns

FIELDS = {
    "public": """
        Query.drop Query.drops Query.now Query.product Query.products Query.productsByIds Query.regions
        PageInfo.endCursor PageInfo.hasNextPage PageInfo.hasPreviousPage PageInfo.startCursor
        Drop.createdAt Drop.id Drop.name Drop.opensAt Drop.products Drop.slug
        DropConnection.edges DropConnection.nodes DropConnection.pageInfo DropEdge.cursor DropEdge.node
        Product.archivedAt Product.availability Product.closesAt Product.createdAt Product.description Product.drop
        Product.dropName Product.holdSeconds
        Product.id Product.limitPerBuyer Product.name Product.opensAt Product.pausedAt Product.revision Product.soldOut
        Product.descriptions Product.family Product.images Product.option Product.price Product.stock Product.stocked
        Product.version
        Description.language Description.text Image.alt Image.height Image.url Image.width
        Price.amount Price.currency
        ProductConnection.edges ProductConnection.nodes ProductConnection.pageInfo ProductConnection.totalCount
        ProductEdge.cursor ProductEdge.node
        Region.healthy Region.home Region.latencyMs Region.name
    """,
    "the caller's": """
        Query.dropHistory Query.node Query.nodes Query.operatorLog Query.order Query.orderCounts Query.orderEvents
        Query.orders Query.purchaseByKey Query.viewer
        Mutation.cancelOrder Mutation.confirmOrder Mutation.createProduct Mutation.guest Mutation.purchase
        Mutation.archiveProduct Mutation.pauseProduct Mutation.releaseOrder Mutation.restock Mutation.resumeProduct
        Mutation.updateProduct
        Subscription.dropActivity Subscription.ordersChanged Subscription.productsChanged Subscription.stockChanged
        Product.held
        ActivityPoint.at ActivityPoint.attempts ActivityPoint.busy ActivityPoint.cancelled ActivityPoint.closed
        ActivityPoint.confirmed ActivityPoint.conflicts ActivityPoint.failed ActivityPoint.held
        ActivityPoint.limitReached ActivityPoint.notOpen ActivityPoint.p50Ms ActivityPoint.p99Ms ActivityPoint.paused
        ActivityPoint.seconds ActivityPoint.soldOut ActivityPoint.stock ActivityPoint.transactions
        DropActivity.at DropActivity.heldOrders DropActivity.heldUnits DropActivity.lapsing DropActivity.points
        DropActivity.processes DropActivity.product DropActivity.regions DropActivity.watchers
        ProcessRegion.away ProcessRegion.latencyMs ProcessRegion.name
        ServerProcess.latenessMs ServerProcess.name ServerProcess.regions ServerProcess.seenAt ServerProcess.startedAt
        ServerProcess.version ServerProcess.waiting ServerProcess.watchers
        FieldChange.after FieldChange.before FieldChange.field
        GuestToken.expiresAt GuestToken.subject GuestToken.token
        Node.id
        OperatorLogConnection.edges OperatorLogConnection.nodes OperatorLogConnection.pageInfo
        OperatorLogEdge.cursor OperatorLogEdge.node
        OperatorLogEntry.action OperatorLogEntry.at OperatorLogEntry.changes OperatorLogEntry.id
        OperatorLogEntry.operator OperatorLogEntry.orderId OperatorLogEntry.productId
        Order.confirmedAt Order.createdAt Order.heldUntil Order.id Order.paymentRef Order.price Order.product
        Order.quantity Order.reference Order.region Order.status Order.userRef
        OrderConfirmed.order OrderConfirmed.replayed
        OrderConnection.edges OrderConnection.nodes OrderConnection.pageInfo
        OrderCount.orders OrderCount.units
        OrderCounts.cancelled OrderCounts.confirmed OrderCounts.held OrderCounts.lapsed
        OrderEdge.cursor OrderEdge.node
        OrderEvent.cursor OrderEvent.id OrderEvent.occurredAt OrderEvent.order OrderEvent.type
        OrderEventConnection.edges OrderEventConnection.nodes OrderEventConnection.pageInfo
        OrderEventEdge.cursor OrderEventEdge.node
        OrderGone.message OrderGone.order
        PurchaseBusy.attempts PurchaseBusy.message PurchaseBusy.product PurchaseBusy.region PurchaseBusy.retryAfterMs
        PurchaseBusy.status
        PurchaseCancelled.attempts PurchaseCancelled.message PurchaseCancelled.order PurchaseCancelled.product
        PurchaseCancelled.region PurchaseCancelled.status
        PurchaseClosed.attempts PurchaseClosed.closedAt PurchaseClosed.message PurchaseClosed.product
        PurchaseClosed.region PurchaseClosed.status
        PurchaseConfirmed.attempts PurchaseConfirmed.message PurchaseConfirmed.order PurchaseConfirmed.product
        PurchaseConfirmed.region PurchaseConfirmed.remaining PurchaseConfirmed.replayed PurchaseConfirmed.status
        PurchaseHeld.attempts PurchaseHeld.heldUntil PurchaseHeld.message PurchaseHeld.order PurchaseHeld.product
        PurchaseHeld.region PurchaseHeld.remaining PurchaseHeld.replayed PurchaseHeld.status
        PurchaseLimitReached.attempts PurchaseLimitReached.held PurchaseLimitReached.limit PurchaseLimitReached.message
        PurchaseLimitReached.product PurchaseLimitReached.region PurchaseLimitReached.status
        PurchaseNotOpen.attempts PurchaseNotOpen.message PurchaseNotOpen.opensAt PurchaseNotOpen.product
        PurchaseNotOpen.region PurchaseNotOpen.status
        PurchasePaused.attempts PurchasePaused.message PurchasePaused.product PurchasePaused.region
        PurchasePaused.status
        PurchaseResult.attempts PurchaseResult.message PurchaseResult.product PurchaseResult.region
        PurchaseResult.status
        PurchaseSoldOut.attempts PurchaseSoldOut.message PurchaseSoldOut.product PurchaseSoldOut.region
        PurchaseSoldOut.remaining PurchaseSoldOut.status
        StockChange.product StockChange.productId StockChange.revision StockChange.soldOut StockChange.stale
        StockChange.stock
        StockChange.version
        Viewer.guest Viewer.roles Viewer.subject
    """,
}
"""Every field of the schema. A public field has the same value for every caller. Decide for each new field, and declare
a public one with `metadata=PUBLIC` if it has a resolver. When in doubt, it is the caller's."""


def arguments(field: GraphQLField) -> str:
    required = [f'{name}: "1"' for name, argument in field.args.items() if str(argument.type).endswith("!")]
    return f"({', '.join(required)})" if required else ""


def shared_coordinates(schema: GraphQLSchema) -> set[str]:
    """The coordinates of the fields that can be selected in a query which requests share. Each is tried in a query of
    its own, below fields that are shared."""
    assert schema.query_type is not None
    shared: set[str] = set()
    waiting: list[tuple[GraphQLNamedType, str, str]] = [(schema.query_type, "{ ", " }")]
    while waiting:
        parent, before, after = waiting.pop()
        kinds = schema.get_possible_types(parent) if is_abstract_type(parent) else [parent]
        for kind in kinds:
            assert isinstance(kind, GraphQLObjectType)
            for name, field in kind.fields.items():
                inner = get_named_type(field.type)
                opened, closed = (" { __typename ", " }") if is_composite_type(inner) else ("", "")
                begun = f"{before}... on {kind.name} {{ {name}{arguments(field)}{opened}"
                if f"{kind.name}.{name}" not in shared and is_public(schema, f"{begun}{closed} }}{after}"):
                    shared.add(f"{kind.name}.{name}")
                    if is_composite_type(inner):
                        waiting.append((inner, begun, f"{closed} }}{after}"))
    return shared


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
    shared = shared_coordinates(schema)

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
        ("{ products { edges { node { name stock } } } }", True),
        ("{ products { edges { node { name held } } } }", False),
        ('{ product(id: "x") { ...Units } } fragment Units on Product { held }', False),
        ("subscription { ordersChanged { id } }", False),
        ("mutation { guest { token } }", False),
        ("subscription { productsChanged { name drop { slug } } }", True),
        ("subscription { productsChanged { held } }", False),
        ('subscription { stockChanged(productIds: ["x"]) { stock product { name stock } } }', True),
        ('subscription { stockChanged(productIds: ["x"]) { product { held } } }', False),
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
    denied: str | None = strawberry.field(resolver=nothing)


@strawberry.interface
class Thing:
    name: str
    price: int | None


@strawberry.type
class Sold(Thing):
    price: int | None = strawberry.field(resolver=nothing)
    mine: bool | None = strawberry.field(resolver=nothing)


@strawberry.type
class Free(Thing):
    """Its price is not computed; that of Sold is."""


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


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("{ plain { name declared { name } } }", True),
        ("{ plain { ...P } } fragment P on Plain { declared { ...Q } } fragment Q on Plain { name }", True),
        ("{ undeclared { name } }", False),
        ("{ denied }", False),
        ("{ sold { name } }", True),
        ("{ sold { name mine } }", False),
        ("{ sold { name ...M } } fragment M on Sold { ... @include(if: false) { mine } }", False),
        ("{ plain { declared { declared { denied } } } }", False),
        ("{ thing { name } }", True),
        ("{ thing { price } }", False),
        ("{ thing { ... on Sold { name } } }", True),
        ("{ thing { ... on Sold { mine } } }", False),
        ("{ either { __typename ... on Plain { name } } }", True),
        ("{ either { ... on Plain { name } ... on Sold { mine } } }", False),
        ("{ either { ... on Thing { price } } }", False),
    ],
)
def test_an_operation_is_public_by_the_fields_that_it_selects(text: str, public: bool) -> None:
    assert is_public(strawberry.Schema(Query, types=[Sold, Free])._schema, text) is public


def test_a_field_that_strawberry_has_not_made_is_the_callers() -> None:
    assert not is_public(build_schema("type Query { now: String }"), "{ now }")
