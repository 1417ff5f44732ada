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
from tests.graphql.npm import Node
from tests.patience import until
from tests.server import Server, serving

pytestmark = pytest.mark.npm

Wish = Callable[[], Awaitable[None]]

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


class Way:
    """A way to a server, over which nothing more goes when it is told so: its sockets stay open all the same."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._unanswered = 0
        self._open = asyncio.Event()
        self._open.set()
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Way"]:
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/graphql"
        try:
            yield self
        finally:
            listening.close()
            self.cut()

    def close_new(self) -> None:
        """Leave new connections without an answer."""
        self._open.clear()

    async def open_new(self) -> None:
        """Wait for a connection that is never answered, and let new ones through."""
        await until(lambda: self._unanswered > 0)
        self._open.set()

    def silence(self) -> None:
        """Let nothing more through of the connections that there are."""
        for writer in self._writers:
            writer.transport.pause_reading()  # type: ignore[attr-defined]

    def cut(self) -> None:
        """End the connections that there are."""
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


async def run_example(node: Node, url: str, product_id: str, scenario: str, **wishes: Wish) -> dict[str, object]:
    """What was seen while the example ran."""
    code = example().replace(ADDRESS, url)
    script = node.write(
        f"{scenario}.mjs",
        f"import {{ {scenario} }} from './frontend_page.mjs';\n{code}\n{scenario}().then(() => process.exit());\n",
    )
    seen = await node.run(script, product_id, wishes=wishes)
    return {check["check"]: check["saw"] for check in seen}


@pytest.fixture
async def way(server: Server) -> AsyncIterator[Way]:
    async with Way(urlsplit(server.url).port or 0).listening() as way:
        yield way


async def test_it_comes_back_within_its_longest_pause_when_the_server_was_gone(settings: Settings, node: Node) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(settings))
        product_id = await server.create_product(stock=100)

        async def start() -> None:
            again = await stack.enter_async_context(serving(settings, urlsplit(server.url).port or 0))
            await again.purchase(product_id)

        seen = await run_example(node, server.websocket_url, product_id, "gone", stop=stack.aclose, start=start)
    assert seen == {"the longest pause is capped": True, "pauses grow": True, "pauses differ": True}


async def test_it_comes_back_when_the_server_stops_answering_pings(server: Server, way: Way, node: Node) -> None:
    product_id = await server.create_product(stock=100)

    async def silence() -> None:
        way.silence()
        await server.purchase(product_id)

    seen = await run_example(node, way.url, product_id, "silent", silence=silence)
    assert seen == {"it has come back over another socket": True}


async def test_it_comes_back_when_a_connection_is_never_accepted(server: Server, way: Way, node: Node) -> None:
    product_id = await server.create_product(stock=100)
    way.close_new()
    seen = await run_example(node, way.url, product_id, "mute", speak=way.open_new)
    assert seen == {"it has come back over another socket": True}


async def test_it_watches_again_when_the_server_was_back_before_its_database(
    settings: Settings, faulty: Faulty, node: Node
) -> None:
    endpoints = tuple(Endpoint(endpoint.region, faulty.url) for endpoint in settings.endpoints)
    async with serving(replace(settings, endpoints=endpoints)) as server:
        product_id = await server.create_product(stock=100)
        async with Way(urlsplit(server.url).port or 0).listening() as way:

            async def away() -> None:
                faulty.down()
                way.cut()

            async def back() -> None:
                await faulty.up()
                await server.purchase(product_id)

            seen = await run_example(node, way.url, product_id, "away", away=away, back=back)
    assert seen == {"it watches again": True}
