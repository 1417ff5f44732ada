"""A server closes while it accepts a connection. The connection gets its protocol, or the server refuses it."""

import asyncio
import gc
import socket
import warnings

from tests.listener import accepting
from tests.patience import until

ROUNDS = 8
"""More rounds of the event loop than there are from a connection's arrival to `connection_made`."""


class Counted(asyncio.Protocol):
    """Counts the connections of a server."""

    made = 0
    lost = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost += 1


async def accepted_and_closed(rounds: int) -> tuple[int, int]:
    """Connect to a server, and close the server so many rounds of the event loop later. Return how many connections
    had their protocol then, and later."""
    protocol = Counted()
    server = await asyncio.get_running_loop().create_server(lambda: protocol, "127.0.0.1", 0)
    async with accepting(server) as port:
        client = socket.create_connection(("127.0.0.1", port))
        for _ in range(rounds):
            await asyncio.sleep(0)
    made = protocol.made
    client.close()
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
    await until(lambda: protocol.lost == protocol.made)
    return made, protocol.made


async def test_no_connection_is_left_open_by_a_server_that_closes() -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        counts = [await accepted_and_closed(rounds) for rounds in range(ROUNDS)]
        gc.collect()
    assert unclosed == []
    assert [made for made, _ in counts] == [later for _, later in counts]
    assert (counts[0], counts[-1]) == ((0, 0), (1, 1))
