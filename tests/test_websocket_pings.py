"""The pings of all websockets of a process, by one timer."""

import asyncio
from collections import Counter

import pytest
from websockets.frames import Frame, Opcode

from api.websocket_pings import STEP, WebsocketPings
from tests.patience import short, until

GROUPS = 5


class Socket:
    """A socket that counts its pings."""

    def __init__(self) -> None:
        self.pings: list[bytes] = []

    def ping(self, payload: bytes, frame: bytes) -> None:
        assert frame == Frame(Opcode.PING, payload).serialize(mask=False)
        self.pings.append(payload)


@pytest.fixture
def pings() -> WebsocketPings:
    return WebsocketPings(interval=GROUPS * STEP)


async def test_sockets_that_connect_at_once_are_pinged_in_many_small_steps(pings: WebsocketPings) -> None:
    sockets = [Socket() for _ in range(100)]
    for socket in sockets:
        pings.join(socket)

    await until(lambda: all(len(socket.pings) >= 3 for socket in sockets))

    steps = Counter(payload for socket in sockets for payload in socket.pings)
    assert set(steps.values()) == {len(sockets) / GROUPS}, "each step has a payload of its own"
    pings_of_each = {len(socket.pings) for socket in sockets}
    assert max(pings_of_each) - min(pings_of_each) <= 1, "no socket is left out, or pinged twice"


async def test_a_socket_that_joins_is_pinged_after_all_others(pings: WebsocketPings) -> None:
    sockets = [Socket() for _ in range(GROUPS)]  # one in each group
    for socket in sockets:
        pings.join(socket)
    await until(lambda: all(socket.pings for socket in sockets))

    before = sum(len(socket.pings) for socket in sockets)
    at_first_ping: list[int] = []

    class Late(Socket):
        def ping(self, payload: bytes, frame: bytes) -> None:
            at_first_ping.append(sum(len(socket.pings) for socket in sockets) - before)

    pings.join(Late())
    await until(lambda: bool(at_first_ping))
    assert at_first_ping[0] in (GROUPS - 1, GROUPS), "it shares the group of the one that was pinged last"


async def test_all_sockets_have_one_timer_which_ends_with_the_last(pings: WebsocketPings) -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, asyncio.BaseEventLoop)
    sockets = [Socket() for _ in range(100)]
    before = len(loop._scheduled)  # type: ignore[attr-defined]

    groups = [pings.join(socket) for socket in sockets]
    assert len(loop._scheduled) == before + 1  # type: ignore[attr-defined]

    for socket, group in zip(sockets, groups, strict=True):
        group.remove(socket)
    await until(lambda: len(loop._scheduled) <= before + 1)  # type: ignore[attr-defined]  # that of `until`
    assert [socket.pings for socket in sockets] == [[]] * len(sockets)

    pings.join(sockets[0])
    await until(lambda: bool(sockets[0].pings))


async def test_an_interval_shorter_than_a_step_has_one_group() -> None:
    pings, sockets = WebsocketPings(interval=short(0.01)), [Socket() for _ in range(3)]
    for socket in sockets:
        pings.join(socket)
    await until(lambda: all(len(socket.pings) >= 3 for socket in sockets))
