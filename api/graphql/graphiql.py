"""GraphiQL, the in-browser IDE, with tabs that are ready to run."""

from pathlib import Path

import orjson
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.products import Product, list_products

_PAGE = Path(__file__).with_name("graphiql.html")

_LIST_PRODUCTS = """\
# Every product, newest first, with its stock at this moment.
query ListProducts {
  products(first: 20) {
    edges {
      node { id name dropName stock soldOut opensAt limitPerBuyer }
    }
    pageInfo { hasNextPage endCursor }
  }
}
"""
_BUY_ONE = """\
# Buys one. With an idempotencyKey in the input, sending it again would not buy a second one.
mutation BuyOne($input: PurchaseInput!) {
  purchase(input: $input) {
    status
    message
    attempts
    region
    ... on PurchaseConfirmed { order { id createdAt } remaining replayed }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseNotOpen { opensAt }
    ... on PurchaseLimitReached { limit held }
    ... on PurchaseBusy { retryAfterMs }
  }
}
"""
_WATCH_STOCK = """\
# The stock now, and then every change. Run it, and buy in the tab beside it.
subscription WatchStock($productIds: [ID!]!) {
  stockChanged(productIds: $productIds) { productId stock soldOut version stale }
}
"""


class GraphiQL:
    """The ASGI application that answers a browser's GET /graphql with the IDE."""

    def __init__(self, drops: Drops) -> None:
        self._drops = drops
        self._template = _PAGE.read_text(encoding="utf-8")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        product = await self._product_to_show()
        product_id = str(product.id) if product is not None else "the id of a product"
        tabs = [
            {"query": _LIST_PRODUCTS},
            {"query": _BUY_ONE, "variables": _json({"input": {"productId": product_id, "userRef": "graphiql"}})},
            {"query": _WATCH_STOCK, "variables": _json({"productIds": [product_id]})},
        ]
        # Escaped so that no value can close the script element.
        data = orjson.dumps(tabs).decode().replace("<", "\\u003c")
        response = HTMLResponse(self._template.replace("[/* tabs */]", data))
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _product_to_show(self) -> Product | None:
        """The newest product that can be bought, else the newest; None when there is none, or no database."""
        try:
            newest = (await list_products(self._drops.regions.home, first=20)).items
        except DatabaseError:
            return None
        return next((product for product in newest if product.stock > 0), newest[0] if newest else None)


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
