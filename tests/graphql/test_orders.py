"""Orders through the API: a buyer's own orders and the operator's view, cancellations, and the cost of reading."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.database.pool import Pool
from api.drops.audit import audit
from api.drops.new_product import NewProduct, create_product
from api.settings import Settings
from tests.engines import on_both_engines
from tests.plans import Statement
from tests.server import ADMIN_TOKEN, PURCHASE, Server, serving

PAGE = """
query ($first: Int, $after: String, $userRef: String, $productId: ID) {
  orders(first: $first, after: $after, userRef: $userRef, productId: $productId) {
    edges { cursor node { id userRef quantity status region createdAt product { id name stock } } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
CANCEL = "mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) { id status product { stock } } }"

INSERT_ORDERS = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region, created_at)
SELECT gen_random_uuid(), '{product_id}', '{buyer}' || n % {buyers}, 1, 'CONFIRMED', 'here',
       now() - n / 3 * interval '1 minute'
FROM generate_series(1, {count}) AS n
"""


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
def pool(shared_pool: Pool) -> Pool:
    return shared_pool


@pytest.fixture
def postgres_url(shared_database_url: str) -> str:
    return shared_database_url


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[Server]:
    """A server on the module's database, through the test's engine."""
    async with serving(settings) as server:
        yield server


@pytest.fixture
def buyer() -> str:
    """The name of a buyer that no other test knows."""
    return f"buyer {uuid4()}"


async def new_product(pool: Pool, stock: int = 100, limit: int | None = None) -> UUID:
    product = NewProduct.checked(name="Tee", drop_name="First Light", stock=stock, limit_per_buyer=limit)
    return (await create_product(pool, product)).id


async def fill(pool: Pool, product_id: UUID, buyer: str, count: int, buyers: int = 1) -> None:
    """Insert that many orders, three for each minute, of the buyers `buyer` followed by 0, by 1, and so on."""
    await pool.execute(INSERT_ORDERS.format(product_id=product_id, buyer=buyer, count=count, buyers=buyers))


async def page(server: Server, *, token: str | None = None, **variables: Any) -> dict[str, Any]:
    """One page, whose pageInfo agrees with its edges."""
    orders: dict[str, Any] = (await server.data(PAGE, variables, token=token))["orders"]
    cursors = [edge["cursor"] for edge in orders["edges"]]
    info = orders["pageInfo"]
    assert (info["startCursor"], info["endCursor"]) == ((cursors[0], cursors[-1]) if cursors else (None, None))
    assert info["hasPreviousPage"] == ("after" in variables)
    return orders


def ids(orders: dict[str, Any]) -> list[str]:
    return [edge["node"]["id"] for edge in orders["edges"]]


async def test_every_order_is_on_one_page_while_others_are_placed(server: Server, pool: Pool, buyer: str) -> None:
    product_id = await new_product(pool)
    await fill(pool, product_id, buyer, 23)
    user_ref = f"{buyer}0"
    newest_first = "SELECT id FROM orders WHERE user_ref = $1 ORDER BY created_at DESC, id DESC"
    rows = await pool.fetch(newest_first, user_ref)

    orders = await page(server, first=5, userRef=user_ref)
    seen = ids(orders)
    while orders["pageInfo"]["hasNextPage"]:
        assert (await server.purchase(str(product_id), user_ref))["status"] == "CONFIRMED"
        orders = await page(server, first=5, userRef=user_ref, after=orders["pageInfo"]["endCursor"])
        seen += ids(orders)

    assert seen == [str(row["id"]) for row in rows]
    assert len((await page(server, first=100, userRef=user_ref))["edges"]) == 23 + 4


async def test_the_last_page_has_no_next_page(server: Server, pool: Pool, buyer: str) -> None:
    await fill(pool, await new_product(pool), buyer, 10)
    first = await page(server, first=5, userRef=f"{buyer}0")
    assert first["pageInfo"]["hasNextPage"]
    second = await page(server, first=5, userRef=f"{buyer}0", after=first["pageInfo"]["endCursor"])
    assert len(second["edges"]) == 5
    assert not second["pageInfo"]["hasNextPage"]
    beyond = await page(server, first=5, userRef=f"{buyer}0", after=second["pageInfo"]["endCursor"])
    assert (beyond["edges"], beyond["pageInfo"]["hasNextPage"]) == ([], False)


async def test_buyers_see_their_own_orders_and_the_operator_sees_all(server: Server, pool: Pool) -> None:
    tee, cap = [str(await new_product(pool)) for _ in range(2)]
    bought = {}
    for user_ref, product_id in (("eve", tee), ("eve", cap), ("dan", tee), ("Eve", tee), ("eve.", tee)):
        bought[user_ref, product_id] = (await server.purchase(product_id, user_ref))["order"]["id"]

    assert ids(await page(server, userRef="eve")) == [bought["eve", cap], bought["eve", tee]]
    assert ids(await page(server, userRef="eve", productId=cap)) == [bought["eve", cap]]
    assert ids(await page(server, userRef="dan", productId=cap)) == []
    assert ids(await page(server, userRef="nobody")) == []
    assert ids(await page(server, first=5, token=ADMIN_TOKEN)) == list(reversed(bought.values()))
    assert ids(await page(server, token=ADMIN_TOKEN, productId=cap)) == [bought["eve", cap]]
    assert ids(await page(server, token=ADMIN_TOKEN, productId=str(uuid4()))) == []


@on_both_engines
async def test_an_order_shows_what_was_bought(shop: Server, pool: Pool, buyer: str) -> None:
    product_id = str(await new_product(pool, stock=10))
    bought = (await shop.purchase(product_id, buyer, quantity=3, region="ap-northeast-2"))["order"]

    [edge] = (await page(shop, userRef=buyer))["edges"]

    order = edge["node"]
    assert (order["id"], order["userRef"], order["quantity"]) == (bought["id"], buyer, 3)
    assert (order["status"], order["region"]) == ("CONFIRMED", "ap-northeast-2")
    assert order["product"] == {"id": product_id, "name": "Tee", "stock": 7}
    query = "query ($id: ID!) { order(id: $id) { userRef product { stock } } }"
    assert await shop.data(query, {"id": bought["id"]}) == {"order": {"userRef": buyer, "product": {"stock": 7}}}


@on_both_engines
async def test_a_cancelled_order_returns_its_units_once(shop: Server, pool: Pool, buyer: str) -> None:
    product_id = str(await new_product(pool, stock=10))
    order_id = (await shop.purchase(product_id, buyer, quantity=3))["order"]["id"]
    by_buyer = {"input": {"orderId": order_id, "userRef": buyer}}

    answers = await asyncio.gather(*(shop.data(CANCEL, by_buyer) for _ in range(10)))
    answers.append(await shop.data(CANCEL, {"input": {"orderId": order_id}}, token=ADMIN_TOKEN))

    for answer in answers:
        assert answer["cancelOrder"] == {"id": order_id, "status": "CANCELLED", "product": {"stock": 10}}
    [edge] = (await page(shop, userRef=buyer))["edges"]
    assert (edge["node"]["status"], edge["node"]["quantity"]) == ("CANCELLED", 3)
    [books] = [entry for entry in await audit(pool) if str(entry.product_id) == product_id]
    assert books.balanced


async def test_the_operator_cancels_any_order(server: Server, pool: Pool) -> None:
    product_id = str(await new_product(pool, stock=1))
    order_id = (await server.purchase(product_id, "ada"))["order"]["id"]
    assert (await server.purchase(product_id, "bob"))["status"] == "SOLD_OUT"

    await server.data(CANCEL, {"input": {"orderId": order_id}}, token=ADMIN_TOKEN)

    assert (await server.purchase(product_id, "bob"))["status"] == "CONFIRMED"


async def test_a_cancelled_order_gives_the_buyer_room_under_the_limit(server: Server, pool: Pool) -> None:
    product_id = str(await new_product(pool, limit=1))
    order_id = (await server.purchase(product_id, "ada"))["order"]["id"]
    assert (await server.purchase(product_id, "ada"))["status"] == "LIMIT_REACHED"

    await server.data(CANCEL, {"input": {"orderId": order_id, "userRef": "ada"}})

    assert (await server.purchase(product_id, "ada"))["status"] == "CONFIRMED"


async def test_a_page_of_orders_and_products_is_two_statements(
    server: Server, pool: Pool, buyer: str, statements: list[Statement]
) -> None:
    for _ in range(20):
        await fill(pool, await new_product(pool), buyer, 5)
    statements.clear()

    orders = await page(server, first=100, userRef=f"{buyer}0")

    assert len(orders["edges"]) == 100
    assert len({edge["node"]["product"]["id"] for edge in orders["edges"]}) == 20
    assert len(statements) == 2


async def test_ten_pages_in_one_request_read_their_products_together(
    server: Server, pool: Pool, buyer: str, statements: list[Statement]
) -> None:
    await fill(pool, await new_product(pool), buyer, 50, buyers=10)
    statements.clear()
    each = " ".join(
        f'b{n}: orders(userRef: "{buyer}{n}") {{ edges {{ node {{ product {{ name }} }} }} }}' for n in range(10)
    )
    answer = await server.data(f"{{ {each} }}")
    assert {len(orders["edges"]) for orders in answer.values()} == {5}
    assert len(statements) <= 10 + 10, "pages that arrive together share one reading, and never more than one each"


async def test_a_purchase_and_its_answer_are_five_statements_at_most(
    server: Server, pool: Pool, statements: list[Statement]
) -> None:
    product_id = str(await new_product(pool, limit=5))
    statements.clear()
    await server.data(PURCHASE, {"input": {"productId": product_id, "userRef": "ada"}})
    # The product, the orders of this id, the buyer's units, the decrement, and the product of the answer's order.
    assert len(statements) <= 5


SEARCH = """
query ($user: String, $product: ID, $reference: String, $status: OrderStatus, $since: DateTime, $until: DateTime) {
  orders(
    userRef: $user, productId: $product, reference: $reference, status: $status, since: $since, until: $until
  ) { edges { node { id } } }
}
"""
COUNTS = """
query ($product: ID!) { orderCounts(productId: $product) {
  held { orders units } confirmed { orders units } cancelled { orders units } lapsed { orders units }
} }
"""


async def test_support_finds_an_order_by_its_reference_and_its_status(server: Server, pool: Pool) -> None:
    product_id = str(await new_product(pool))
    kept, cancelled = [(await server.purchase(product_id, "ada", quantity=2))["order"]["id"] for _ in range(2)]
    await server.data(CANCEL, {"input": {"orderId": cancelled}}, token=ADMIN_TOKEN)
    query = "query ($id: ID!) { order(id: $id) { reference createdAt } }"
    order = (await server.data(query, {"id": kept}, token=ADMIN_TOKEN))["order"]

    async def found(token: str | None = ADMIN_TOKEN, **search: str) -> list[str]:
        return ids((await server.data(SEARCH, search, token=token))["orders"])

    assert await found(reference=order["reference"].lower().replace("-", " ")) == [kept]
    assert await found(reference=order["reference"], status="CANCELLED") == []
    assert await found(product=product_id, status="CANCELLED") == [cancelled]
    assert await found(product=product_id, status="CONFIRMED", since=order["createdAt"]) == [kept]
    assert await found(product=product_id, status="CONFIRMED", until=order["createdAt"]) == []
    # A buyer searches among the own orders alone.
    assert await found(None, user="ada", reference=order["reference"]) == [kept]
    assert await found(None, user="bob", reference=order["reference"]) == []

    counted = {"held": (0, 0), "confirmed": (1, 2), "cancelled": (1, 2), "lapsed": (0, 0)}
    counts = (await server.data(COUNTS, {"product": product_id}, token=ADMIN_TOKEN))["orderCounts"]
    assert counts == {status: {"orders": orders, "units": units} for status, (orders, units) in counted.items()}


async def test_a_search_that_cannot_be_executed_says_what_to_send(server: Server) -> None:
    for search, complaint in {
        ("status", "LAPSED"): "the status LAPSED needs a productId or a userRef as well: add one",
        ("reference", "12"): "reference must be the code of an order, such as K7QM-2XRD-9HTV, not '12'",
    }.items():
        code, message = await server.refusal(SEARCH, dict([search]), token=ADMIN_TOKEN)
        assert (code, message) == ("BAD_USER_INPUT", complaint)
    assert (await server.refusal(COUNTS, {"product": str(uuid4())}, token=ADMIN_TOKEN))[0] == "NOT_FOUND"
