"""A shop with guests, and its pages as a browser without script uses them."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from tests.server import ADMIN_TOKEN, Server

ORDERS = "query ($id: ID) { orders(productId: $id) { edges { node { id userRef quantity status } } } }"
UPDATE = "mutation ($input: UpdateProductInput!) { updateProduct(input: $input) { revision } }"


@dataclass
class Browser:
    """A browser without script: it keeps cookies, and follows no redirect by itself."""

    server: Server
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        """Return the status, the body and the headers of a page."""
        return await self._send("GET", path, None, headers)

    async def buy(self, path: str, form: dict[str, str], **headers: str) -> tuple[int, str, dict[str, str]]:
        """Send the form of a page, as its own page does."""
        return await self._send("POST", path, form, {"sec-fetch-site": "same-origin"} | headers)

    async def _send(
        self, method: str, path: str, form: dict[str, str] | None, headers: dict[str, str]
    ) -> tuple[int, str, dict[str, str]]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        url = f"{self.server.url}{path}"
        async with self.server.session.request(method, url, data=form, headers=sent, allow_redirects=False) as response:
            if "set-cookie" in response.headers:
                name, _, value = response.headers["set-cookie"].partition(";")[0].partition("=")
                self.cookies[name] = value
            received = {name.lower(): value for name, value in response.headers.items()}
            return response.status, await response.text(), received


def key_in(document: str) -> str:
    """The key of the form in a page."""
    [key] = re.findall(r'name="key" value="([^"]*)"', document)
    return unescape(key)


async def orders_of(server: Server, product_id: str) -> list[dict[str, Any]]:
    found = await server.data(ORDERS, {"id": product_id}, token=ADMIN_TOKEN)
    return [edge["node"] for edge in found["orders"]["edges"]]
