"""Operations that several modules of tests send, and an id for them."""

from tests.server import Server

UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"
"""The id of no product and of no order."""

CREATE = "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }"
RESTOCK = "mutation ($input: RestockInput!) { restock(input: $input) { stock } }"
CANCEL = "mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) { status } }"
STOCK = "query ($id: ID!) { product(id: $id) { stock } }"
ORDER = "query ($id: ID!) { order(id: $id) { id } }"
PRODUCTS = """
query ($first: Int, $after: String, $dropName: String) {
  products(first: $first, after: $after, dropName: $dropName) { edges { cursor } }
}
"""
ORDERS = """
query ($first: Int, $after: String, $userRef: String, $productId: ID) {
  orders(first: $first, after: $after, userRef: $userRef, productId: $productId) { edges { cursor } }
}
"""


async def stock_of(server: Server, product_id: str) -> int:
    """The stock of the product, as a query returns it."""
    stock: int = (await server.data(STOCK, {"id": product_id}))["product"]["stock"]
    return stock
