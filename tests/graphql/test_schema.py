"""The schema as its clients know it: exported, described, and with every name that clients rely on."""

from collections.abc import Iterator
from pathlib import Path

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    build_schema,
    find_breaking_changes,
    is_introspection_type,
    is_specified_scalar_type,
    print_ast,
)

from api.graphql.errors import ErrorCode
from api.graphql.schema import sdl

EXPORTED = Path(__file__).parents[2] / "schema.graphql"

RELIED_ON = """
scalar DateTime

type Query {
  viewer: Viewer!
  products(
    first: Int after: String last: Int before: String dropName: String archived: Boolean = false filter: ProductFilter
    sort: ProductSort
  ): ProductConnection!
  product(id: ID!): Product
  drops(first: Int, after: String, last: Int, before: String): DropConnection!
  drop(slug: String!): Drop
  productsByIds(ids: [ID!]!): [Product]!
  node(id: ID!): Node
  nodes(ids: [ID!]!): [Node]!
  purchaseByKey(productId: ID!, userRef: String, idempotencyKey: String!): PurchaseResult
  orders(first: Int, after: String, last: Int, before: String, userRef: String, productId: ID): OrderConnection!
  order(id: ID!): Order
  orderEvents(first: Int, after: String, last: Int, before: String): OrderEventConnection!
  operatorLog(first: Int, after: String, last: Int, before: String, productId: ID): OperatorLogConnection!
  regions: [Region!]!
}

type Mutation {
  guest: GuestToken
  purchase(input: PurchaseInput!): PurchaseResult
  createProduct(input: CreateProductInput!): Product
  restock(input: RestockInput!): Product
  cancelOrder(input: CancelOrderInput!): Order
  updateProduct(input: UpdateProductInput!): Product
  pauseProduct(productId: ID!): Product
  resumeProduct(productId: ID!): Product
  archiveProduct(productId: ID!): Product
  confirmOrder(orderId: ID! paymentRef: String!): ConfirmResult
  releaseOrder(orderId: ID! userRef: String): Order
}

type Subscription {
  stockChanged(productIds: [ID!]!): StockChange!
  ordersChanged(productId: ID): OrderEvent!
  productsChanged: Product!
}

interface Node { id: ID! }

type Product implements Node {
  id: ID!
  name: String!
  dropName: String!
  stock: Int!
  soldOut: Boolean!
  opensAt: DateTime
  limitPerBuyer: Int
  holdSeconds: Int
  held: Int
  createdAt: DateTime!
  description: String
  closesAt: DateTime
  pausedAt: DateTime
  archivedAt: DateTime
  revision: Int!
  drop: Drop!
  availability: Availability!
}

enum Availability { ON_SALE COMING GONE }
enum ProductSort { NEWEST OLDEST OPENS_AT }
input ProductFilter {
  availability: Availability drop: String family: String opensBefore: DateTime opensAfter: DateTime
}

type Drop implements Node {
  id: ID! slug: String! name: String! opensAt: DateTime createdAt: DateTime!
  products(first: Int, after: String, last: Int, before: String): ProductConnection!
}

type Order implements Node {
  id: ID!
  product: Product!
  userRef: String!
  quantity: Int!
  status: OrderStatus!
  region: String!
  createdAt: DateTime!
  heldUntil: DateTime
  confirmedAt: DateTime
  paymentRef: String
  reference: String!
}

enum OrderStatus { HELD CONFIRMED CANCELLED LAPSED }

type Region { name: String! home: Boolean! healthy: Boolean! latencyMs: Float }

type StockChange {
  productId: ID! product: Product! stock: Int! soldOut: Boolean! version: Int! revision: Int! stale: Boolean!
}

type ProductConnection { edges: [ProductEdge!]! nodes: [Product!]! pageInfo: PageInfo! totalCount: Int }
type ProductEdge { cursor: String! node: Product! }
type DropConnection { edges: [DropEdge!]! nodes: [Drop!]! pageInfo: PageInfo! }
type DropEdge { cursor: String! node: Drop! }
type OrderConnection { edges: [OrderEdge!]! nodes: [Order!]! pageInfo: PageInfo! }
type Viewer { subject: String roles: [Role!]! guest: Boolean! }
enum Role { OPERATOR SUPPORT PAYMENTS }
type GuestToken { token: String! subject: String! expiresAt: DateTime! }

type OrderEvent { id: ID! cursor: String! type: OrderEventType! occurredAt: DateTime! order: Order! }
enum OrderEventType { HELD CONFIRMED CANCELLED LAPSED }
type OrderEventConnection { edges: [OrderEventEdge!]! nodes: [OrderEvent!]! pageInfo: PageInfo! }
type OrderEventEdge { cursor: String! node: OrderEvent! }

type OrderEdge { cursor: String! node: Order! }
type PageInfo { hasNextPage: Boolean! hasPreviousPage: Boolean! startCursor: String endCursor: String }

input PurchaseInput {
  productId: ID!
  userRef: String
  quantity: Int! = 1
  region: String
  idempotencyKey: String
}
input CreateProductInput {
  name: String! dropName: String! stock: Int! opensAt: DateTime limitPerBuyer: Int
  holdSeconds: Int shards: Int = 16 idempotencyKey: String closesAt: DateTime description: String
}
input UpdateProductInput {
  productId: ID! revision: Int! name: String description: String opensAt: DateTime closesAt: DateTime
  limitPerBuyer: Int holdSeconds: Int
}
type OperatorLogConnection { edges: [OperatorLogEdge!]! nodes: [OperatorLogEntry!]! pageInfo: PageInfo! }
type OperatorLogEdge { cursor: String! node: OperatorLogEntry! }
type OperatorLogEntry {
  id: ID! at: DateTime! operator: String! action: OperatorAction! productId: ID orderId: ID changes: [FieldChange!]!
}
type FieldChange { field: String! before: String after: String }
enum OperatorAction {
  PRODUCT_CREATED PRODUCT_UPDATED PRODUCT_PAUSED PRODUCT_RESUMED PRODUCT_ARCHIVED PRODUCT_RESTOCKED
  ORDER_CANCELLED ORDER_RELEASED ORDERS_EXPORTED
}
input RestockInput { productId: ID! delta: Int! idempotencyKey: String }
input CancelOrderInput { orderId: ID! userRef: String }

union ConfirmResult = OrderConfirmed | OrderGone
type OrderConfirmed { order: Order! replayed: Boolean! }
type OrderGone { order: Order! message: String! }

interface PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
}

enum PurchaseStatus { CONFIRMED HELD SOLD_OUT NOT_OPEN PAUSED CLOSED LIMIT_REACHED CANCELLED BUSY }

type PurchaseConfirmed implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  order: Order! remaining: Int! replayed: Boolean!
}
type PurchaseHeld implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  order: Order! remaining: Int! heldUntil: DateTime! replayed: Boolean!
}
type PurchaseCancelled implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  order: Order!
}

type PurchaseSoldOut implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  remaining: Int!
}
type PurchaseNotOpen implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  opensAt: DateTime!
}
type PurchasePaused implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
}
type PurchaseClosed implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  closedAt: DateTime!
}
type PurchaseLimitReached implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  limit: Int! held: Int!
}
type PurchaseBusy implements PurchaseResult {
  status: PurchaseStatus! message: String! attempts: Int! region: String! product: Product
  retryAfterMs: Int!
}
"""
"""The schema that clients are written for. It may grow. Nothing in it may change its name, its type or its default."""


def own_types(schema: GraphQLSchema) -> Iterator[GraphQLNamedType]:
    for named in schema.type_map.values():
        if not is_introspection_type(named) and not is_specified_scalar_type(named):
            yield named


def described_things(
    schema: GraphQLSchema,
) -> Iterator[tuple[str, GraphQLNamedType | GraphQLField | GraphQLArgument | GraphQLInputField | object]]:
    """Everything that can have a description, with its place in the schema."""
    for named in own_types(schema):
        yield named.name, named
        if isinstance(named, GraphQLObjectType | GraphQLInterfaceType):
            for field_name, field in named.fields.items():
                yield f"{named.name}.{field_name}", field
                for argument_name, argument in field.args.items():
                    yield f"{named.name}.{field_name}({argument_name}:)", argument
        elif isinstance(named, GraphQLInputObjectType):
            for field_name, input_field in named.fields.items():
                yield f"{named.name}.{field_name}", input_field
        elif isinstance(named, GraphQLEnumType):
            for value_name, value in named.values.items():
                yield f"{named.name}.{value_name}", value


def test_the_exported_schema_is_the_one_that_is_served() -> None:
    assert EXPORTED.read_text(encoding="utf-8") == sdl(), (
        "schema.graphql is not the schema of the code; run: dropzero schema > schema.graphql"
    )


def test_every_part_of_the_schema_is_described(schema: GraphQLSchema) -> None:
    things = dict(described_things(schema))
    assert len(things) > 100
    assert [place for place, thing in things.items() if not (getattr(thing, "description", "") or "").strip()] == []


def test_descriptions_are_sentences(schema: GraphQLSchema) -> None:
    descriptions = {place: getattr(thing, "description", "") for place, thing in described_things(schema)}
    del descriptions["DateTime"]  # which Strawberry has written
    assert [place for place, description in descriptions.items() if not description.endswith(".")] == []


def test_nothing_that_clients_rely_on_has_changed(schema: GraphQLSchema) -> None:
    relied_on = build_schema(RELIED_ON)
    assert [change.description for change in find_breaking_changes(relied_on, schema)] == []


def test_every_name_that_clients_rely_on_has_exactly_its_type() -> None:
    """Stricter than the test above, which an argument passes that is no longer required, or a field that is never null
    any more."""

    def types(text: str) -> dict[str, str]:
        return {place: spelled(thing) for place, thing in described_things(build_schema(text))}

    def spelled(thing: object) -> str:
        kind = str(getattr(thing, "type", type(thing).__name__))
        default = getattr(thing, "default", None)
        value = "null" if default is None else print_ast(default.literal)
        return kind if value == "null" else f"{kind} = {value}"

    relied_on, served = types(RELIED_ON), types(sdl())
    assert relied_on["PurchaseInput.quantity"] == "Int! = 1"
    assert {place: served.get(place) for place in relied_on} == relied_on


def test_the_outcomes_of_a_purchase_are_those_that_clients_know(schema: GraphQLSchema) -> None:
    relied_on = build_schema(RELIED_ON)
    for each in (relied_on, schema):
        outcomes = each.get_type("PurchaseResult")
        assert isinstance(outcomes, GraphQLInterfaceType)
        assert {possible.name for possible in each.get_possible_types(outcomes)} == {
            "PurchaseConfirmed",
            "PurchaseHeld",
            "PurchaseCancelled",
            "PurchaseSoldOut",
            "PurchaseNotOpen",
            "PurchasePaused",
            "PurchaseClosed",
            "PurchaseLimitReached",
            "PurchaseBusy",
        }


def test_the_codes_of_errors_are_those_that_clients_know() -> None:
    assert set(ErrorCode) == {
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "PERSISTED_QUERY_NOT_SUPPORTED",
        "PERSISTED_QUERY_NOT_FOUND",
        "BAD_USER_INPUT",
        "NOT_FOUND",
        "UNAUTHENTICATED",
        "FORBIDDEN",
        "IDEMPOTENCY_KEY_REUSED",
        "ALREADY_CONFIRMED",
        "STALE_REVISION",
        "TOO_MANY_OPERATIONS",
        "RATE_LIMITED",
        "SERVICE_UNAVAILABLE",
        "INTERNAL",
    }


def test_a_missing_name_is_a_breaking_change() -> None:
    relied_on = build_schema(RELIED_ON)
    for gone in ("  restock(input: RestockInput!): Product\n", "NOT_OPEN ", " replayed: Boolean!"):
        assert gone in RELIED_ON
        assert find_breaking_changes(relied_on, build_schema(RELIED_ON.replace(gone, "", 1)))
