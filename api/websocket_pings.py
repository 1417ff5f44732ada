"""The pings that keep websockets open and find clients that are gone. One timer serves all sockets of a process."""

import asyncio
import os
from typing import Protocol

from websockets.frames import Frame, Opcode

STEP = 0.1
"""Seconds between two steps, in each of which one group of sockets is pinged. With the interval of 20 s there are 200
groups: of 10,000 sockets 50 are pinged in a step, which takes less than a millisecond."""


class Pinged(Protocol):
    """A socket, as its pings see it."""

    def ping(self, payload: bytes, frame: bytes) -> None:
        """Send a ping, which is the frame with this payload, or close the socket if the last ping was not answered."""


class WebsocketPings:
    """Pings every socket once in each interval, which is also the time that a client has to answer. The sockets are
    spread over the interval, so that a step pings few of them, even if all have connected in the same moment."""

    def __init__(self, interval: float) -> None:
        """`interval` in seconds."""
        self._groups: list[set[Pinged]] = [set() for _ in range(max(1, round(interval / STEP)))]
        self._step = interval / len(self._groups)
        self._latest = 0
        """The number of the group that was pinged last."""
        self._timer: asyncio.TimerHandle | None = None

    def join(self, socket: Pinged) -> set[Pinged]:
        """Ping a socket from now on. Returns its group, which it leaves by removing itself.

        It joins the smallest group. Of several, it joins the one that was pinged last, whose next ping is the latest.
        """
        group = min((self._groups[self._latest - back] for back in range(len(self._groups))), key=len)
        group.add(socket)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._step, self._ping_group)
        return group

    def _ping_group(self) -> None:
        more = any(self._groups)
        self._timer = asyncio.get_running_loop().call_later(self._step, self._ping_group) if more else None
        self._latest = (self._latest + 1) % len(self._groups)
        payload = os.urandom(4)  # so that no late pong of an earlier ping counts
        frame = Frame(Opcode.PING, payload).serialize(mask=False)
        for socket in tuple(self._groups[self._latest]):
            socket.ping(payload, frame)
