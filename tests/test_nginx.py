"""The configuration of nginx that docs/deployment.md shows, in a real nginx before two real servers.

Where there is no nginx the tests are skipped with the reason; where CI=true they fail instead.
"""

import asyncio
import re
import signal
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from api.settings import read_settings
from tests.command import Serving, dropzero_serve
from tests.graphql.transport import connected
from tests.patience import short, until
from tests.proxies import free_port, running_nginx
from tests.server import ADMIN_TOKEN, PURCHASE, Server

PAGE = Path(__file__).parent.parent / "docs" / "deployment.md"
WATCH = "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock } }"
STOCK = "query ($id: ID!) { product(id: $id) { stock } }"
UNITS = 100_000
BUYERS = 4
DRAIN = "1"
"""Seconds. nginx does not read /readyz: it sends requests until the port refuses connections."""

pytestmark = pytest.mark.slow


def configuration(port: int, servers: list[int]) -> str:
    """Return the page's configuration, with these ports."""
    [shown] = re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    addresses = iter(servers)
    here = re.sub(r"server 10\.[\d.]+:8000", lambda _: f"server 127.0.0.1:{next(addresses)}", shown)
    here = here.replace("listen 80;", f"listen 127.0.0.1:{port};")
    assert next(addresses, None) is None
    return here


@asynccontextmanager
async def nginx_before(servers: list[int]) -> AsyncIterator[tuple[str, Path]]:
    """Run an nginx before servers at these ports until the block is left. Yields its URL, and the file of its
    errors."""
    port = free_port()
    async with running_nginx(port, configuration(port, servers)) as errors:
        yield f"http://127.0.0.1:{port}", errors


AS_OPERATOR = {"authorization": f"Bearer {ADMIN_TOKEN}"}
"""Only the operator may name any buyer, since the servers have endpoints of their own."""


@dataclass
class Buying:
    """The answers to buyers."""

    answers: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def some_more(self) -> None:
        """Wait for 50 answers."""
        before = self.answers.total()
        await until(lambda: self.answers.total() >= before + 50)

    async def buy(self, shop: Server, product_id: str, buyer: str) -> None:
        """Buy one unit after the other, each with its own key, until the sale is over."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
            while not self.over.is_set():
                wanted = {"productId": product_id, "userRef": buyer, "idempotencyKey": str(uuid.uuid4())}
                body = {"query": PURCHASE, "variables": {"input": wanted}}
                try:
                    async with session.post(f"{shop.url}/graphql", json=body, headers=AS_OPERATOR) as response:
                        text = await response.text()
                        status = response.status
                except aiohttp.ClientError as error:
                    self.answers[repr(error)] += 1
                    continue
                outcome = orjson.loads(text)["data"]["purchase"]["status"] if status == 200 else str(status)
                self.answers[outcome] += 1
                await asyncio.sleep(short(0.01))  # leaves a starting server time


@dataclass
class Watcher:
    """A watcher, which reconnects whenever its connection ends."""

    seen: list[list[int]] = field(default_factory=list)
    """The stock, connection by connection."""

    @property
    def latest(self) -> int | None:
        return self.seen[-1][-1] if self.seen and self.seen[-1] else None

    async def watch_socket(self, shop: Server, product_id: str) -> None:
        while True:
            seen: list[int] = []
            async with connected(shop) as client:
                self.seen.append(seen)
                await client.subscribe(WATCH, {"ids": [product_id]})
                try:
                    async for message in client.connection:
                        seen.append(orjson.loads(message)["payload"]["data"]["stockChanged"]["stock"])
                except ConnectionClosed:
                    pass
                assert client.connection.close_code == 1012

    async def watch_events(self, shop: Server, product_id: str) -> None:
        body = {"query": WATCH, "variables": {"ids": [product_id]}}
        timeout = aiohttp.ClientTimeout(total=None)
        while True:
            async with shop.session.post(
                f"{shop.url}/graphql", json=body, headers={"accept": "text/event-stream"}, timeout=timeout
            ) as response:
                if response.status == 502:
                    # nginx has reused the connection of the stream that has just ended, before it noticed the end.
                    continue
                assert response.status == 200
                seen: list[int] = []
                self.seen.append(seen)
                async for line in response.content:
                    if line.startswith(b"data: {"):
                        seen.append(orjson.loads(line[6:])["data"]["stockChanged"]["stock"])


async def test_servers_that_are_restarted_in_turn_lose_no_purchase_and_no_watcher(
    tmp_path: Path, postgres_url: str
) -> None:
    variables = {
        "DROPZERO_ENDPOINTS": f"here={postgres_url}",
        "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
        "DROPZERO_DRAIN_S": DRAIN,
    }
    ports = [free_port(), free_port()]
    logs = [tmp_path / f"server-{port}.log" for port in ports]
    async with AsyncExitStack() as stack:

        async def start(port: int) -> Serving:
            serving = dropzero_serve(tmp_path / f"server-{port}", "--port", str(port), **variables)
            return await stack.enter_async_context(serving)

        url, errors = await stack.enter_async_context(nginx_before(ports))
        servers = [await start(port) for port in ports]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        shop = Server(url, read_settings(variables), session)
        product_id = await shop.create_product(stock=UNITS)
        buying, by_socket, by_events = Buying(), Watcher(), Watcher()
        async with asyncio.TaskGroup() as tasks:
            watching = [
                tasks.create_task(by_socket.watch_socket(shop, product_id)),
                tasks.create_task(by_events.watch_events(shop, product_id)),
            ]
            buyers = [tasks.create_task(buying.buy(shop, product_id, f"buyer-{number}")) for number in range(BUYERS)]
            for server, port in zip(servers, ports, strict=True):
                await buying.some_more()
                assert await server.stop(signal.SIGTERM) == 0
                await buying.some_more()
                await start(port)
            await buying.some_more()
            buying.over.set()
            await asyncio.wait(buyers)
            left = UNITS - buying.answers["CONFIRMED"]
            await until(lambda: by_socket.latest == by_events.latest == left)
            for task in watching:
                task.cancel()

        assert set(buying.answers) == {"CONFIRMED"}, (buying.answers, errors.read_text())
        assert await shop.data(STOCK, {"id": product_id}) == {"product": {"stock": left}}
    for watcher in (by_socket, by_events):
        assert len(watcher.seen) > 1, "it has come back"
        assert all(seen == sorted(seen, reverse=True) for seen in watcher.seen)
    for log in logs:
        assert "draining for 1 s" in log.read_text()
        assert "Traceback" not in log.read_text()
