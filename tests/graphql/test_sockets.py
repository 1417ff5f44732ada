"""Websockets and event streams at their limit: the client with most of them gives way, the newest first."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from api.database.pool import Pool
from api.settings import Settings, read_settings
from tests.graphql.operations import ORDER, UNKNOWN_ID
from tests.graphql.several import client_headers, trusting
from tests.graphql.subscriptions import BUY, WATCH, Stream, streaming, until_metrics
from tests.graphql.transport import Client, assert_alive, connected, several_connected
from tests.locks import stock_held, table_locked, until_blocked
from tests.patience import PATIENCE
from tests.server import Server, serving

SOCKETS = 4
GREEDY, HONEST, ANOTHER = (client_headers(number) for number in (1, 2, 3))
FULL = (1013, f"All {SOCKETS} sockets of this server are open; try again later")


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server that allows a few sockets, and distinguishes several clients."""
    async with serving(trusting(settings, sockets=SOCKETS)) as server:
        yield server


@contextlib.asynccontextmanager
async def watching(server: Server, product_id: str, headers: dict[str, str]) -> AsyncIterator[Stream]:
    """An event stream that has sent the stock once."""
    async with streaming(server, WATCH, {"ids": [product_id]}, headers=headers) as stream:
        assert (await stream.next())["stockChanged"]
        yield stream


async def test_the_newest_socket_of_the_client_with_most_gives_way(server: Server) -> None:
    async with (
        several_connected(server, SOCKETS, headers=GREEDY) as greedy,
        several_connected(server, 1, headers=HONEST) as [honest],
    ):
        assert await greedy[-1].closed() == FULL
        await assert_alive(honest, *greedy[:-1])
        await until_metrics(server, sockets=SOCKETS)


async def test_sockets_give_way_until_all_clients_have_as_many(server: Server) -> None:
    async with several_connected(server, SOCKETS, headers=GREEDY) as greedy, contextlib.AsyncExitStack() as stack:
        others = [
            await stack.enter_async_context(connected(server, headers=client_headers(number))) for number in (2, 3, 4)
        ]
        for client in reversed(greedy[1:]):
            assert await client.closed() == FULL
        await assert_alive(greedy[0], *others)

        async with connected(server, init=False, headers=client_headers(5)) as late:
            assert await late.closed() == FULL
        await assert_alive(greedy[0], *others)


async def test_the_client_with_most_sockets_displaces_no_other_client(server: Server) -> None:
    async with (
        several_connected(server, SOCKETS - 1, headers=GREEDY) as greedy,
        several_connected(server, 1, headers=HONEST) as [honest],
    ):
        for _ in range(3):
            async with connected(server, init=False, headers=GREEDY) as another:
                assert await another.closed() == FULL
        await assert_alive(honest, *greedy)


async def test_a_socket_without_connection_init_gives_way_too(server: Server) -> None:
    async with contextlib.AsyncExitStack() as stack:
        silent = await stack.enter_async_context(several_connected(server, SOCKETS, init=False, headers=GREEDY))
        async with several_connected(server, 1, headers=HONEST) as [honest]:
            assert await silent[-1].closed() == FULL
            await assert_alive(honest, *silent[:-1])


async def test_an_event_stream_that_gives_way_ends_without_complete(server: Server) -> None:
    """Without "complete" its client reconnects."""
    product_id = await server.create_product()
    async with (
        several_connected(server, SOCKETS - 1, headers=GREEDY) as greedy,
        watching(server, product_id, GREEDY) as stream,
        several_connected(server, 1, headers=HONEST) as [honest],
    ):
        await stream.ends()
        await assert_alive(honest, *greedy)
        await until_metrics(server, watchers=0, sockets=SOCKETS)


async def test_an_event_stream_takes_the_place_of_a_socket(server: Server) -> None:
    product_id = await server.create_product()
    async with (
        several_connected(server, SOCKETS, headers=GREEDY) as greedy,
        watching(server, product_id, HONEST) as stream,
    ):
        assert await greedy[-1].closed() == FULL
        await server.purchase(product_id)
        assert (await stream.next())["stockChanged"] == {"stock": 9, "version": 2}


async def test_a_watching_socket_that_gives_way_leaves_no_watcher(server: Server) -> None:
    product_id = await server.create_product()
    async with several_connected(server, SOCKETS, headers=GREEDY) as greedy:
        for client in greedy:
            await client.subscribe(WATCH, {"ids": [product_id]})
            await client.next()
        async with several_connected(server, 1, headers=HONEST):
            assert await greedy[-1].closed() == FULL
            await until_metrics(server, sockets=SOCKETS, watchers=SOCKETS - 1, broadcasts=1)
        await server.purchase(product_id)
        for client in greedy[:-1]:
            assert (await client.next())["stockChanged"]["stock"] == 9


@pytest.mark.parametrize("leave", ["closes", "vanishes"])
async def test_a_socket_whose_client_has_left_amid_a_query_gives_way_too(
    server: Server, behind: Pool, caplog: pytest.LogCaptureFixture, leave: str
) -> None:
    async with table_locked(behind, "orders"), contextlib.AsyncExitStack() as stack:
        greedy = await stack.enter_async_context(several_connected(server, SOCKETS, headers=GREEDY))
        await greedy[-1].subscribe(ORDER, {"id": UNKNOWN_ID})
        await until_blocked(behind)
        if leave == "vanishes":
            greedy[-1].connection.transport.abort()
        else:
            await greedy[-1].send({"type": "no such type"})
        async with (
            several_connected(server, 1, headers=HONEST) as [honest],
            several_connected(server, 1, headers=ANOTHER) as [another],
        ):
            assert await greedy[-2].closed() == FULL
            await assert_alive(honest, another, *greedy[:-2])
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_socket_that_gives_way_gets_the_answer_to_its_purchase(server: Server, behind: Pool) -> None:
    product_id = await server.create_product()
    wanted = {"input": {"productId": product_id, "userRef": "ada"}}
    async with several_connected(server, SOCKETS, headers=GREEDY) as greedy:
        async with stock_held(behind, product_id):
            await greedy[-1].subscribe(BUY, wanted)
            await until_blocked(behind)
            async with several_connected(server, 1, headers=HONEST) as [honest]:
                await assert_alive(honest, *greedy[:-1])

        assert await greedy[-1].next() == {"purchase": {"status": "CONFIRMED"}}
        assert await greedy[-1].receive() == {"id": "1", "type": "complete"}
        assert await greedy[-1].closed() == FULL


async def test_a_closed_socket_makes_room(server: Server) -> None:
    async with several_connected(server, SOCKETS, headers=GREEDY):
        pass
    await until_metrics(server, sockets=0)
    async with several_connected(server, SOCKETS, headers=HONEST) as clients:
        await assert_alive(*clients)


async def test_without_a_trusted_proxy_forwarded_addresses_are_ignored(settings: Settings) -> None:
    async with (
        serving(replace(settings, sockets=SOCKETS)) as server,
        several_connected(server, SOCKETS, headers=GREEDY) as clients,
    ):
        for headers in (HONEST, ANOTHER):
            async with connected(server, init=False, headers=headers) as newcomer:
                assert await newcomer.closed() == FULL
        await assert_alive(*clients)


async def test_the_setting_names_the_trusted_proxies(settings: Settings) -> None:
    async def newcomers_are_served(proxies: str) -> bool:
        trusted = read_settings({"DROPZERO_TRUSTED_PROXIES": proxies}).trusted_proxies
        async with (
            serving(replace(settings, sockets=SOCKETS, trusted_proxies=trusted)) as server,
            several_connected(server, SOCKETS, headers=GREEDY),
            connected(server, init=False, headers=HONEST) as newcomer,
        ):
            with contextlib.suppress(ConnectionClosed):
                await newcomer.send({"type": "connection_init"})
                return await newcomer.receive() == {"type": "connection_ack"}
            return False

    assert await newcomers_are_served("127.0.0.0/8")
    assert await newcomers_are_served("::1, 127.0.0.1")
    assert not await newcomers_are_served("10.0.0.0/8")
    assert not await newcomers_are_served("")


async def test_another_address_is_another_client_without_a_proxy(settings: Settings) -> None:
    async with serving(replace(settings, sockets=SOCKETS)) as server, contextlib.AsyncExitStack() as stack:
        greedy = await stack.enter_async_context(several_connected(server, SOCKETS))
        neighbour = connect(
            server.websocket_url,
            subprotocols=[Subprotocol("graphql-transport-ws")],
            local_addr=("127.0.0.2", 0),
            proxy=None,
            open_timeout=PATIENCE,
        )
        honest = Client(await stack.enter_async_context(neighbour))
        await honest.init()
        assert await greedy[-1].closed() == FULL


async def test_a_full_server_still_sells(server: Server) -> None:
    product_id = await server.create_product()
    async with several_connected(server, SOCKETS, headers=GREEDY):
        assert (await server.purchase(product_id))["status"] == "CONFIRMED"
        async with streaming(server, "{ __typename }") as stream:
            assert await stream.next() == {"__typename": "Query"}
