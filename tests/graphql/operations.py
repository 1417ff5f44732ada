"""Operations that several modules of tests send."""

from tests.server import Server

CREATE = "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }"
RESTOCK = "mutation ($input: RestockInput!) { restock(input: $input) { stock } }"
CANCEL = "mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) { status } }"
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
    query = "query ($id: ID!) { product(id: $id) { stock } }"
    stock: int = (await server.data(query, {"id": product_id}))["product"]["stock"]
    return stock
