"""Every field of the schema against every caller, on each transport: who gets data, who gets nothing, and why."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
from graphql import GraphQLSchema

from tests.graphql.callers import ADA, ANONYMOUS, BOB, CALLERS, GUEST, OLGA, OPERATOR, PIA, SUE, Shop, open_shop
from tests.graphql.operations import UNKNOWN_ID
from tests.graphql.subscriptions import WATCH, streaming
from tests.graphql.transport import connected

HTTP, SOCKET, EVENTS = "HTTP", "websocket", "event stream"
DATA, NULL = "data", "null"
UNKNOWN, FORBIDDEN, MISSING, NOT_FOUND = "UNAUTHENTICATED", "FORBIDDEN", "BAD_USER_INPUT", "NOT_FOUND"

EVERYBODY = dict.fromkeys(CALLERS, DATA)
OPERATORS = {**dict.fromkeys(CALLERS, FORBIDDEN), ANONYMOUS: UNKNOWN, OLGA: DATA, OPERATOR: DATA}

ORDERS = """
query ($user: String, $product: ID) {
  orders(userRef: $user, productId: $product, first: 100) { edges { node { id userRef } } }
}
"""
ORDER = "query ($order: ID!) { order(id: $order) { id userRef } }"
NODE = "query ($order: ID!) { node(id: $order) { id ... on Order { userRef } } }"
NODES = """
query ($order: ID!, $product: ID!) { nodes(ids: [$product, $order]) { id ... on Order { userRef } } }
"""
COUNTS = "query ($product: ID!) { orderCounts(productId: $product) { confirmed { units } } }"
PURCHASE = """
mutation ($product: ID!, $user: String, $key: String) {
  purchase(input: { productId: $product, userRef: $user, idempotencyKey: $key }) {
    ... on PurchaseConfirmed { order { id userRef } }
    ... on PurchaseHeld { order { id userRef } }
  }
}
"""
BY_KEY = """
query ($product: ID!, $user: String, $key: String!) {
  purchaseByKey(productId: $product, userRef: $user, idempotencyKey: $key) {
    ... on PurchaseConfirmed { order { id userRef } }
  }
}
"""
CANCEL = """
mutation ($order: ID!, $user: String) { cancelOrder(input: { orderId: $order, userRef: $user }) { userRef } }
"""
RELEASE = """
mutation ($order: ID!, $user: String) { releaseOrder(orderId: $order, userRef: $user) { userRef } }
"""
CONFIRM = """
mutation ($order: ID!) {
  confirmOrder(orderId: $order, paymentRef: "pi_1") {
    ... on OrderConfirmed { order { userRef } }
    ... on OrderGone { order { userRef } }
  }
}
"""
EVENTS_OF = "{ orderEvents(first: 1) { edges { cursor } } }"
CHANGES = "subscription { ordersChanged { order { id } } }"
PRODUCT_CHANGES = "subscription { productsChanged { id } }"
CREATE = 'mutation { createProduct(input: { name: "Tee", dropName: "First Light", stock: 1 }) { name } }'
HISTORY = "query ($product: ID!) { dropHistory(productId: $product) { at } }"
ACTIVITY = "subscription ($product: ID!) { dropActivity(productId: $product) { at } }"
UPDATE = """
mutation ($product: ID!) { updateProduct(input: { productId: $product, revision: 0, name: "Tee" }) { name } }
"""
PAUSE, RESUME, ARCHIVE = (
    f"mutation ($product: ID!) {{ {field}(productId: $product) {{ name }} }}"
    for field in ("pauseProduct", "resumeProduct", "archiveProduct")
)
LOG = "{ operatorLog(first: 1) { edges { cursor } } }"
RESTOCK = "mutation ($product: ID!) { restock(input: { productId: $product, delta: 1 }) { name } }"


CAUSED = ("ordersChanged", "productsChanged")
"""Subscriptions without an event of their own at the beginning."""


@dataclass(frozen=True)
class Row:
    """A field and what each caller gets, with an endpoint configured. `laptop`: where the laptop's rules differ.

    DATA is followed by the buyers that it names. The operation's `$product` has the order `$order` of ada and one of
    bob, both bought under KEY; they are held if `held`.
    """

    root: str
    case: str
    document: str
    expected: Mapping[str, str]
    laptop: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    held: bool = False

    def __str__(self) -> str:
        return f"{self.root} {self.case}".strip()


OF_ADA, OF_BOB, OF_BOTH = f"{DATA} of {ADA}", f"{DATA} of {BOB}", f"{DATA} of {ADA}, {BOB}"
FOR_ADA = {"user": ADA}
KEY = {"key": "click"}

OWN = {caller: f"{DATA} of {caller}" for caller in CALLERS} | {ANONYMOUS: UNKNOWN, OPERATOR: MISSING}
"""Everybody's own, which callers without a subject do not have."""

TABLE = (
    Row("products", "", "{ products(first: 1) { edges { cursor } } }", EVERYBODY),
    Row("product", "", "query ($product: ID!) { product(id: $product) { id } }", EVERYBODY),
    Row(
        "drops",
        "",
        "{ drops(first: 1) { edges { cursor node { products(first: 1) { edges { cursor } } } } } }",
        EVERYBODY,
    ),
    Row("drop", "", '{ drop(slug: "first-light") { opensAt } }', EVERYBODY),
    Row("productsByIds", "", "query ($ids: [ID!]!) { productsByIds(ids: $ids) { id } }", EVERYBODY),
    Row("regions", "", "{ regions { name } }", EVERYBODY),
    Row("now", "", "{ now }", EVERYBODY),
    Row("viewer", "", "{ viewer { subject roles guest } }", OWN | {ANONYMOUS: DATA, OPERATOR: DATA}),
    Row("guest", "", "mutation { guest { expiresAt } }", EVERYBODY),
    Row(
        "orders",
        "without a buyer",
        ORDERS,
        EVERYBODY | {ANONYMOUS: UNKNOWN, ADA: OF_ADA, BOB: OF_BOB, SUE: OF_BOTH, OLGA: OF_BOTH, OPERATOR: OF_BOTH},
    ),
    Row(
        "orders",
        "of ada",
        ORDERS,
        OPERATORS | {ADA: OF_ADA, SUE: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
        FOR_ADA,
    ),
    Row(
        "order",
        "of ada",
        ORDER,
        dict.fromkeys(CALLERS, NULL) | {ADA: OF_ADA, SUE: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
    ),
    Row(
        "node",
        "of ada's order",
        NODE,
        dict.fromkeys(CALLERS, NULL) | {ADA: OF_ADA, SUE: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
    ),
    Row("node", "of a product", NODE.replace("$order", "$product"), EVERYBODY),
    Row(
        "nodes",
        "of a product and of ada's order",
        NODES,
        EVERYBODY | {ADA: OF_ADA, SUE: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
    ),
    Row("orderCounts", "", COUNTS, OPERATORS | {SUE: DATA}),
    Row("order", "of nobody", ORDER, dict.fromkeys(CALLERS, NULL), {}, {"order": UNKNOWN_ID}),
    Row("purchase", "without a buyer", PURCHASE, OWN, {ANONYMOUS: MISSING}),
    Row(
        "purchase",
        "for ada",
        PURCHASE,
        OPERATORS | {ADA: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
        FOR_ADA,
    ),
    Row(
        "purchaseByKey",
        "without a buyer",
        BY_KEY,
        dict.fromkeys(CALLERS, NULL) | {ADA: OF_ADA, BOB: OF_BOB, ANONYMOUS: UNKNOWN, OPERATOR: MISSING},
        {ANONYMOUS: MISSING},
        KEY,
    ),
    Row(
        "purchaseByKey",
        "of ada",
        BY_KEY,
        OPERATORS | {ADA: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
        FOR_ADA | KEY,
    ),
    Row(
        "cancelOrder",
        "of ada, without a buyer",
        CANCEL,
        {**OPERATORS, ADA: OF_ADA, BOB: NOT_FOUND, GUEST: NOT_FOUND, PIA: NOT_FOUND}
        | {SUE: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
    ),
    Row(
        "cancelOrder",
        "of ada, for ada",
        CANCEL,
        OPERATORS | {ADA: OF_ADA, SUE: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
        FOR_ADA,
    ),
    Row(
        "releaseOrder",
        "of ada, without a buyer",
        RELEASE,
        {**OPERATORS, ADA: OF_ADA, BOB: NOT_FOUND, GUEST: NOT_FOUND}
        | {SUE: OF_ADA, PIA: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        held=True,
    ),
    Row(
        "releaseOrder",
        "of ada, for ada",
        RELEASE,
        OPERATORS | {ADA: OF_ADA, SUE: OF_ADA, PIA: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA},
        {ANONYMOUS: OF_ADA},
        FOR_ADA,
        held=True,
    ),
    Row("confirmOrder", "of ada", CONFIRM, OPERATORS | {PIA: OF_ADA, OLGA: OF_ADA, OPERATOR: OF_ADA}, held=True),
    Row("createProduct", "", CREATE, OPERATORS),
    Row("restock", "", RESTOCK, OPERATORS),
    Row("updateProduct", "", UPDATE, OPERATORS),
    Row("pauseProduct", "", PAUSE, OPERATORS),
    Row("resumeProduct", "", RESUME, OPERATORS),
    Row("archiveProduct", "", ARCHIVE, OPERATORS),
    Row("operatorLog", "", LOG, OPERATORS),
    Row("orderEvents", "", EVENTS_OF, OPERATORS | {SUE: DATA}),
    Row("stockChanged", "", WATCH, EVERYBODY),
    Row("productsChanged", "", PRODUCT_CHANGES, EVERYBODY),
    Row("ordersChanged", "", CHANGES, OPERATORS | {SUE: DATA}),
    Row("dropHistory", "", HISTORY, OPERATORS | {SUE: DATA}),
    Row("dropActivity", "", ACTIVITY, OPERATORS | {SUE: DATA}),
)


@pytest.fixture(scope="module", params=[True, False], ids=["configured", "laptop"])
async def shop(request: pytest.FixtureRequest, shared_database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(shared_database_url, closed=request.param) as shop:
        yield shop


async def asked(shop: Shop, transport: str, document: str, variables: dict[str, Any], token: str | None) -> Any:
    """The first response to the operation, errors and all."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    if transport == HTTP:
        return await shop.server.ask(document, variables, token=token)
    if transport == EVENTS:
        async with streaming(shop.server, document, variables, headers=headers) as stream:
            name, response = await stream.event()
            assert name == "next"
            return response
    async with connected(shop.server, init=False) as client:
        await client.init(headers)
        await client.subscribe(document, variables)
        message = await client.receive()
        return message["payload"] if message["type"] == "next" else {"errors": message["payload"]}


async def bought(shop: Shop, product_id: str, buyer: str, **key: str) -> str:
    """The id of an order that the operator has placed for the buyer."""
    variables = {"product": product_id, "user": buyer, **key}
    data = await shop.server.data(PURCHASE, variables, token=shop.token(OPERATOR))
    order_id: str = data["purchase"]["order"]["id"]
    return order_id


@asynccontextmanager
async def events_of(shop: Shop, root: str, product_id: str) -> AsyncIterator[None]:
    """Buy one unit after the other, or create products, until the block is left. So every subscriber to orders, or to
    products, gets an event."""

    async def cause() -> None:
        while True:
            if root == "ordersChanged":
                await bought(shop, product_id, BOB)
            else:
                await shop.server.create_product(1)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(cause())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def buyers_in(value: Any) -> set[str]:
    """The buyers that an answer names. Guests' subjects are random, and are shortened."""
    if isinstance(value, dict):
        named = {str(text) for key, text in value.items() if key in ("userRef", "subject") and text is not None}
        value = list(value.values())
    else:
        named = set()
    for part in value if isinstance(value, list) else ():
        named |= buyers_in(part)
    return {GUEST if name.startswith("guest-") else name for name in named}


def described(answer: dict[str, Any], name: str) -> str:
    """An answer in the words of the table."""
    if "errors" in answer:
        [error] = answer["errors"]
        assert not (answer.get("data") or {}).get(name), "an answer has data beside its error"
        code: str = error["extensions"]["code"]
        return code
    if answer["data"][name] is None:
        return NULL
    named = ", ".join(sorted(buyers_in(answer["data"][name])))
    return f"{DATA} of {named}" if named else DATA


@pytest.mark.parametrize("transport", [HTTP, SOCKET, EVENTS])
@pytest.mark.parametrize("row", TABLE, ids=str)
async def test_each_caller_gets_what_the_table_says(shop: Shop, row: Row, transport: str) -> None:
    product_id = await shop.server.create_product(10_000, holdSeconds=600 if row.held else None)
    order_id = await bought(shop, product_id, ADA, **KEY)
    await bought(shop, product_id, BOB, **KEY)
    given = {"product": product_id, "order": order_id, "ids": [product_id], **row.variables}
    variables = {name: value for name, value in given.items() if f"${name}" in row.document}
    expected = dict(row.expected)
    if shop.server.settings.open_to_anyone:
        expected |= row.laptop
    if row.root in ("stockChanged", *CAUSED, "dropActivity") and transport == HTTP:
        expected = dict.fromkeys(CALLERS, MISSING)

    async with events_of(shop, row.root, product_id) if row.root in CAUSED else nullcontext():
        asking = [asked(shop, transport, row.document, variables, shop.token(caller)) for caller in CALLERS]
        # A subscriber may have to wait for its first event, and the others wait beside it.
        answers = await asyncio.gather(*asking) if row.root in CAUSED else [await each for each in asking]
        got = {caller: described(answer, row.root) for caller, answer in zip(CALLERS, answers, strict=True)}

    assert got == expected


def test_every_field_of_the_schema_is_in_the_table(schema: GraphQLSchema) -> None:
    roots = (schema.query_type, schema.mutation_type, schema.subscription_type)
    assert {row.root for row in TABLE} == {name for root in roots if root is not None for name in root.fields}
