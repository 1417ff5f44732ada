"""What counts for a buyer and what for an address: sockets at their limit, and the time that messages take."""

from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from api.identity.gate import Gate
from api.settings import Settings
from tests.graphql.expiring import VIEWER, Shop, shop
from tests.graphql.several import client_headers, trusting
from tests.graphql.subscriptions import WATCH, streaming, until_metrics
from tests.graphql.transport import Client, assert_alive, connected, several_connected

SOCKETS = 4
FULL = (1013, f"All {SOCKETS} sockets of this server are open; try again later")


@pytest.fixture
async def here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """A shop that allows a few sockets, and distinguishes several addresses."""
    async with shop(trusting(settings, sockets=SOCKETS), monkeypatch) as here:
        yield here


@asynccontextmanager
async def signed_in(here: Shop, token: str, address: int, *, handshake: bool = False) -> AsyncIterator[Client]:
    """A socket with this token, in connection_init or in the handshake."""
    sent = {"authorization": f"Bearer {token}"}
    headers = client_headers(address) | (sent if handshake else {})
    async with connected(here.server, init=False, headers=headers) as client:
        await client.init(None if handshake else sent)
        yield client


@pytest.mark.parametrize("handshake", [False, True])
async def test_the_sockets_of_a_buyer_share_one_budget_over_all_addresses(here: Shop, handshake: bool) -> None:
    async with AsyncExitStack() as stack:
        ada = [
            await stack.enter_async_context(signed_in(here, here.issuer.token("ada"), number, handshake=handshake))
            for number in range(1, SOCKETS)
        ]
        neighbours = await stack.enter_async_context(several_connected(here.server, 1, headers=client_headers(1)))
        late = await stack.enter_async_context(connected(here.server, headers=client_headers(9)))
        assert await ada[-1].closed() == FULL
        await assert_alive(late, *neighbours, *ada[:-1])


async def test_a_buyer_does_not_give_way_for_the_neighbours_at_the_same_address(here: Shop) -> None:
    async with (
        several_connected(here.server, SOCKETS - 1, headers=client_headers(1)) as neighbours,
        signed_in(here, here.issuer.token("ada"), 1) as ada,
        connected(here.server, headers=client_headers(2)) as late,
    ):
        assert await neighbours[-1].closed() == FULL
        await assert_alive(ada, late, *neighbours[:-1])


async def test_the_sockets_of_guests_count_for_their_address(here: Shop) -> None:
    async with AsyncExitStack() as stack:
        guests = [await stack.enter_async_context(signed_in(here, here.guest_token(), 1)) for _ in range(SOCKETS)]
        late = await stack.enter_async_context(connected(here.server, headers=client_headers(2)))
        assert await guests[-1].closed() == FULL
        await assert_alive(late, *guests[:-1])


async def test_an_event_stream_counts_for_its_buyer(here: Shop) -> None:
    product_id = await here.server.create_product()
    headers = client_headers(1) | {"authorization": f"Bearer {here.issuer.token('ada')}"}
    async with AsyncExitStack() as stack:
        for number in range(2, SOCKETS + 1):
            await stack.enter_async_context(signed_in(here, here.issuer.token("ada"), number))
        stream = await stack.enter_async_context(streaming(here.server, WATCH, {"ids": [product_id]}, headers=headers))
        await stream.next()
        await stack.enter_async_context(connected(here.server, headers=client_headers(9)))
        await stream.ends()


@pytest.mark.parametrize("end", ["closes", "vanishes", "breaks the protocol", "expires", "gives way"])
async def test_a_buyers_socket_leaves_no_claim(here: Shop, end: str) -> None:
    """However it ends, the buyer can have all sockets afterwards."""
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(signed_in(here, here.issuer.token("ada"), 1))
        match end:
            case "closes":
                await ada.connection.close()
            case "vanishes":
                ada.connection.transport.abort()
            case "breaks the protocol":
                await ada.send({"type": "connection_init"})
                assert (await ada.closed())[0] == 4429
            case "expires":
                here.expire()
                await ada.subscribe(VIEWER)
                assert (await ada.closed())[0] == 4403
                here.clock.now -= 365 * 24 * 3600
            case "gives way":
                others = [
                    await stack.enter_async_context(signed_in(here, here.issuer.token("ada"), number))
                    for number in range(2, SOCKETS + 1)
                ]
                await stack.enter_async_context(connected(here.server, headers=client_headers(9)))
                assert await others[-1].closed() == FULL
    await until_metrics(here.server, sockets=0)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(signed_in(here, here.issuer.token("ada"), number))
            for number in range(1, SOCKETS + 1)
        ]
        await assert_alive(*clients)


async def test_the_messages_of_a_buyer_are_charged_to_the_buyer(here: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    charged: list[str] = []
    metered: list[str] = []
    charge, meter = Gate.charge, Gate.metered

    def recorded_charge(gate: Gate, client: str, seconds: float) -> None:
        charged.append(client)
        charge(gate, client, seconds)

    def recorded_meter(gate: Gate, client: str, running: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        metered.append(client)
        return meter(gate, client, running)

    async with (
        signed_in(here, here.issuer.token("ada"), 1) as ada,
        signed_in(here, here.guest_token(), 2) as guest,
    ):
        monkeypatch.setattr(Gate, "charge", recorded_charge)
        monkeypatch.setattr(Gate, "metered", recorded_meter)
        await ada.answer(VIEWER)
        assert metered == ["subject:ada"], "the operation"
        assert charged.count("subject:ada") >= 2, "the message too"
        await guest.answer(VIEWER)
        assert metered == ["subject:ada", "198.51.100.2"]
