"""A real server in this process, and requests to it."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import uvicorn

from api.app import create_app
from api.identity.admission import Admission
from api.server import uvicorn_config
from api.settings import Settings
from tests.listener import close
from tests.patience import until

ADMIN_TOKEN = "the-operators-token-of-the-tests"
GUEST_KEY = "the-key-of-guest-tokens-of-the-tests"

REUSED_FOR = 1.0
"""Seconds that the client keeps a connection without a request. The server keeps it for longer: a request that is sent
while the server closes the connection would be reset."""


@dataclass(frozen=True)
class Server:
    """A server that listens, and requests to it."""

    url: str
    settings: Settings
    session: aiohttp.ClientSession

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/graphql"

    async def ask(
        self, query: str, variables: dict[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """Execute an operation, and return the whole response, data and errors."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        body = {"query": query, "variables": variables}
        async with self.session.post(f"{self.url}/graphql", json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def data(
        self, query: str, variables: dict[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """Execute an operation that must succeed, and return its data."""
        answer = await self.ask(query, variables, token=token)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def refusal(
        self, query: str, variables: dict[str, Any] | None = None, *, token: str | None = None
    ) -> tuple[str, str]:
        """Execute an operation that must fail with one error, and return its code and message."""
        answer = await self.ask(query, variables, token=token)
        assert "errors" in answer, answer
        [error] = answer["errors"]
        return error["extensions"]["code"], error["message"]

    async def metrics(self) -> dict[str, float]:
        """Return the current figures of /metrics that have no labels, as the operator if nobody else may read them."""
        token = None if self.settings.open_to_anyone else self.settings.admin_token
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with self.session.get(f"{self.url}/metrics", headers=headers) as response:
            assert response.status == 200
            lines = (await response.text()).splitlines()
        figures = (line.rpartition(" ") for line in lines if line[0] != "#" and "{" not in line)
        return {name: float(figure) for name, _, figure in figures}

    async def create_product(self, stock: int = 10, **more: Any) -> str:
        """Create a product, and return its id."""
        product = {"name": "Tee", "dropName": "First Light", "stock": stock, **more}
        created = await self.data(
            "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }",
            {"input": product},
            token=ADMIN_TOKEN,
        )
        product_id: str = created["createProduct"]["id"]
        return product_id

    async def purchase(self, product_id: str, user_ref: str = "ada", **more: Any) -> dict[str, Any]:
        """Buy, as the operator if nobody else may name any buyer, and return the result of the purchase."""
        wanted = {"productId": product_id, "userRef": user_ref, **more}
        token = None if self.settings.open_to_anyone else self.settings.admin_token
        outcome: dict[str, Any] = (await self.data(PURCHASE, {"input": wanted}, token=token))["purchase"]
        return outcome


PURCHASE = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) {
    __typename status message attempts region
    ... on PurchaseConfirmed { order { ...Bought } remaining replayed }
    ... on PurchaseHeld { order { ...Bought } remaining replayed heldUntil }
    ... on PurchaseCancelled { order { ...Bought } }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseNotOpen { opensAt }
    ... on PurchaseLimitReached { limit held }
    ... on PurchaseBusy { retryAfterMs }
  }
}
fragment Bought on Order { id userRef quantity status region product { id stock } }
"""


class _InstantUvicorn(uvicorn.Server):
    """uvicorn's server checks ten times a second whether it should stop; this server stops at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            await close(server)
        await super().shutdown(sockets)


@contextlib.asynccontextmanager
async def serving(
    settings: Settings, port: int = 0, make_app: Callable[[Admission], Any] | None = None
) -> AsyncIterator[Server]:
    """Run a server in this event loop until the block is left, on a free port unless one is named. `make_app` makes its
    application, ours by default."""
    # asyncio disables Nagle's algorithm only for a socket with its protocol named. With it a reused connection would
    # wait 40 ms for each answer.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    server = _InstantUvicorn(uvicorn_config(settings, make_app or partial(create_app, settings)))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # pytest's to handle
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await until(lambda: server.started or task.done())
        assert server.started, task.exception()
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=REUSED_FOR)
        async with aiohttp.ClientSession(connector=connector) as session:
            yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}", settings, session)
    finally:
        server.stopping.set()
        await task
