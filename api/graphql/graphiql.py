"""GraphiQL, the IDE in the browser, with tabs that are ready to run."""

import asyncio
import secrets
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import orjson
from starlette.responses import HTMLResponse
from starlette.types import Receive, Scope, Send

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.products import Product, list_products

_PAGE = Path(__file__).with_name("graphiql.html").read_text(encoding="utf-8")

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
_BUY_FOR_ANYONE = """\
# Buys one for the buyer userRef, as this laptop lets anyone do. With a guest's token in Headers, remove userRef.
"""
_BUY_AS_GUEST = """\
# Buys one for the buyer whose token is in Headers, below. BecomeGuest, the fourth tab, makes one.
"""
_BUY_ONE = """\
# However often you run it, it buys one: the same idempotencyKey is the same purchase, and the answer then has
# "replayed": true. To buy another one, write another key.
mutation BuyOne($input: PurchaseInput!) {
  purchase(input: $input) {
    status
    message
    attempts
    region
    ... on PurchaseConfirmed { order { id createdAt } remaining replayed }
    ... on PurchaseCancelled { order { id } }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseNotOpen { opensAt }
    ... on PurchaseLimitReached { limit held }
    ... on PurchaseBusy { retryAfterMs }
  }
}
"""
_WATCH_STOCK = """\
# The stock now, and then every change. Run it, and buy in another window: changing the tab here stops it.
subscription WatchStock($productIds: [ID!]!) {
  stockChanged(productIds: $productIds) { productId stock soldOut version stale }
}
"""
_BECOME_GUEST = """\
# Makes a new guest, a buyer without an account. Copy the token, and write it below, under Headers, in each tab that is
# the guest's: {"Authorization": "Bearer TOKEN"}. GraphiQL keeps no headers: after a reload write them again.
mutation BecomeGuest {
  guest { token subject expiresAt }
}
"""
_WHO_AM_I = """\
# Who the server takes you for, by the token in Headers. Without one, you are nobody in particular.
query WhoAmI {
  viewer { subject guest roles }
}
"""

_OPERATE = """\
# For the operator: the button that runs it lets you choose. Write the operator's token below, under Headers:
# {"Authorization": "Bearer TOKEN"}. On a laptop the start of the server prints it.
mutation CreateProduct($product: CreateProductInput!) {
  createProduct(input: $product) { id name dropName stock limitPerBuyer opensAt }
}

# More units for a product. Under the same idempotencyKey they are added once.
mutation Restock($units: RestockInput!) {
  restock(input: $units) { id name stock stocked }
}
"""

# The page may run the four scripts that carry this response's nonce, fetch GraphiQL's styles (with their inline styles
# and fonts), and connect to this server. It may do nothing else, and no other page may put it into a frame.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'nonce-{nonce}'",
        "style-src 'unsafe-inline' https://unpkg.com",
        "font-src data:",
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

DATABASE_TIMEOUT = 2.0
"""Seconds to read a product to show. The page opens without one as well."""


class GraphiQL:
    """The ASGI application that answers a browser's GET /graphql with the IDE."""

    def __init__(self, drops: Drops, *, open_to_anyone: bool, timeout: float = DATABASE_TIMEOUT) -> None:
        """`open_to_anyone`: callers without a token may name any buyer. `timeout`: seconds to read a product to
        show."""
        self._drops = drops
        self._open_to_anyone = open_to_anyone
        self._timeout = timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        product = await self._product_to_show()
        nonce = secrets.token_urlsafe(16)
        product_id = "the id of a product" if product is None else str(product.id)
        page = render_page(ready_tabs(product_id, open_to_anyone=self._open_to_anyone), nonce)
        headers = {
            "cache-control": "no-store",
            "content-security-policy": _POLICY.format(nonce=nonce),
            "referrer-policy": "no-referrer",
            "vary": "accept",
        }
        await HTMLResponse(page, headers=headers)(scope, receive, send)

    async def _product_to_show(self) -> Product | None:
        """The newest product that can be bought, or the newest of all. None without products or without a database."""
        try:
            async with asyncio.timeout(self._timeout):
                newest = (await list_products(self._drops.regions, first=20)).items
        except (DatabaseError, TimeoutError):
            return None
        return next((product for product in newest if _can_be_bought(product)), newest[0] if newest else None)


def _can_be_bought(product: Product) -> bool:
    # By this host's clock: it decides only which product is shown.
    return product.stock > 0 and (product.opens_at is None or product.opens_at <= datetime.now(UTC))


def ready_tabs(product_id: str, *, open_to_anyone: bool) -> list[dict[str, str]]:
    """GraphiQL's tabs: list the products, buy this product, watch its stock, become a guest, see who one is, create and
    restock products. The buyer is named where the server is `open_to_anyone`, and is the caller elsewhere. Keys are
    new."""
    purchase = {"productId": product_id, "quantity": 1, "idempotencyKey": str(uuid4())}
    if open_to_anyone:
        purchase["userRef"] = "graphiql"
    product = {
        "name": "Cap",
        "dropName": "Second Light",
        "stock": 50,
        "limitPerBuyer": 2,
        "idempotencyKey": str(uuid4()),
    }
    units = {"productId": product_id, "delta": 10, "idempotencyKey": str(uuid4())}
    buy_one = (_BUY_FOR_ANYONE if open_to_anyone else _BUY_AS_GUEST) + _BUY_ONE
    return [
        {"query": _LIST_PRODUCTS},
        {"query": buy_one, "variables": _json({"input": purchase})},
        {"query": _WATCH_STOCK, "variables": _json({"productIds": [product_id]})},
        {"query": _BECOME_GUEST},
        {"query": _WHO_AM_I},
        {"query": _OPERATE, "variables": _json({"product": product, "units": units})},
    ]


def render_page(tabs: list[dict[str, str]], nonce: str) -> str:
    """The page with these tabs. Its scripts carry the `nonce` that the response's policy allows."""
    # Escaped so that nothing in the tabs can close the script element that holds them.
    data = orjson.dumps(tabs).decode().replace("<", "\\u003c")
    return _PAGE.replace("{{nonce}}", nonce).replace("{{tabs}}", data)


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
