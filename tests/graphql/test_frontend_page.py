"""The example of a page that watches in docs/frontend.md, run with npm's graphql-ws before servers that fail."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api.database.endpoint import Endpoint
from api.settings import Settings
from tests.faults import Faulty
from tests.listener import accepting
from tests.npm import Node
from tests.patience import until
from tests.server import Server, serving

pytestmark = pytest.mark.npm

Action = Callable[[], Awaitable[None]]

PAGE = Path(__file__).parents[2] / "docs" / "frontend.md"
ADDRESS = "ws://127.0.0.1:8000/graphql"


def example() -> str:
    """The code of the page that uses graphql-ws."""
    code: str
    [code] = [
        code
        for code in re.findall(r"^```js\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
        if ADDRESS in code
    ]
    assert 'from "graphql-ws"' in code
    return code


class Proxy:
    """A proxy before a server. It can stop forwarding while its sockets stay open."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._unanswered = 0
        self._open = asyncio.Event()
        self._open.set()
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Proxy"]:
        async with accepting(await asyncio.start_server(self._serve, "127.0.0.1", 0)) as port:
            self.url = f"ws://127.0.0.1:{port}/graphql"
            yield self
        self.cut()

    def mute_new(self) -> None:
        """Accept new connections, and do not answer them."""
        self._open.clear()

    async def forward_new(self) -> None:
        """Wait for a connection that gets no answer, and forward all later ones."""
        await until(lambda: self._unanswered > 0)
        self._open.set()

    def silence(self) -> None:
        """Forward nothing more of the open connections."""
        for writer in self._writers:
            writer.transport.pause_reading()  # type: ignore[attr-defined]

    def cut(self) -> None:
        """Abort the open connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        if not self._open.is_set():
            self._unanswered += 1
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError:
            writer.close()
            return
        self._writers.add(server_writer)
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    writer.close()


async def run_example(node: Node, url: str, product_id: str, scenario: str, **actions: Action) -> dict[str, object]:
    """Run the example. Returns what the scenario saw, by check."""
    code = example().replace(ADDRESS, url)
    script = node.write(
        f"{scenario}.mjs",
        f"import {{ {scenario} }} from './frontend_page.mjs';\n{code}\n{scenario}().then(() => process.exit());\n",
    )
    seen = await node.run(script, product_id, actions=actions)
    return {check["check"]: check["saw"] for check in seen}


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[Proxy]:
    async with Proxy(urlsplit(server.url).port or 0).listening() as proxy:
        yield proxy


async def test_it_reconnects_within_its_longest_pause_after_the_server_was_gone(settings: Settings, node: Node) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(settings))
        product_id = await server.create_product(stock=100)

        async def start() -> None:
            again = await stack.enter_async_context(serving(settings, urlsplit(server.url).port or 0))
            await again.purchase(product_id)

        seen = await run_example(node, server.websocket_url, product_id, "gone", stop=stack.aclose, start=start)
    assert seen == {"the longest pause is capped": True, "pauses grow": True, "pauses differ": True}


async def test_it_reconnects_when_the_server_stops_answering_pings(server: Server, proxy: Proxy, node: Node) -> None:
    product_id = await server.create_product(stock=100)

    async def silence() -> None:
        proxy.silence()
        await server.purchase(product_id)

    seen = await run_example(node, proxy.url, product_id, "silent", silence=silence)
    assert seen == {"it has reconnected": True}


async def test_it_reconnects_when_a_connection_gets_no_answer(server: Server, proxy: Proxy, node: Node) -> None:
    product_id = await server.create_product(stock=100)
    proxy.mute_new()
    seen = await run_example(node, proxy.url, product_id, "mute", speak=proxy.forward_new)
    assert seen == {"it has reconnected": True}


async def test_it_watches_again_when_the_server_is_back_before_its_database(
    settings: Settings, faulty: Faulty, node: Node
) -> None:
    endpoints = tuple(Endpoint(endpoint.region, faulty.url) for endpoint in settings.endpoints)
    async with serving(replace(settings, endpoints=endpoints)) as server:
        product_id = await server.create_product(stock=100)
        async with Proxy(urlsplit(server.url).port or 0).listening() as proxy:

            async def away() -> None:
                faulty.down()
                proxy.cut()

            async def back() -> None:
                await faulty.up()
                await server.purchase(product_id)

            seen = await run_example(node, proxy.url, product_id, "away", away=away, back=back)
    assert seen == {"it watches again": True}
