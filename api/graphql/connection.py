"""The connection of a websocket, as its server offers it to the application beyond ASGI."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol

from starlette.types import Message, Receive, Scope, Send

EXTENSION = "dropzero.connection"
"""The key of the Connection among the `extensions` of an ASGI scope. Only `dropzero serve` has it."""

FrameParts = tuple[bytes, ...]
"""A text message as the parts of its frame, which are joined when it is sent. The first part is the frame's header,
and the others are the text. So messages that wait share the parts that they have in common."""


class Connection(Protocol):
    """What a session needs of its connection."""

    def receive(self) -> Awaitable[Message]:
        """The next event of ASGI."""

    def send(self, message: Message, /) -> Awaitable[None]:
        """Send a message of ASGI when the connection has room. Raises OSError when the connection is closed."""

    def write(self, frame: FrameParts) -> bool:
        """Send a frame at once. Returns False, and sends nothing, when the connection has no room or other messages
        wait for it: then `send` has to send the text. Raises OSError when the connection is closed."""

    def park(self, resume: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Let the application return without closing the socket. `resume` runs in a new task when an event arrives, or
        after `wake`. Returns False, and does nothing, when an event has arrived already.

        A parked socket has no task and no stack of coroutines: that is more than half of an idle socket's memory.
        """

    def wake(self) -> None:
        """Resume the application, if it is parked."""


class PlainConnection:
    """The connection of any ASGI server: no message is sent at once, and no socket is parked."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.receive = receive
        self.send = send

    def write(self, frame: FrameParts) -> bool:
        return False

    def park(self, resume: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        return False

    def wake(self) -> None:
        pass


def connection_of(scope: Scope, receive: Receive, send: Send) -> Connection:
    """The connection that the server offers, or a plain one."""
    offered: Connection | None = scope.get("extensions", {}).get(EXTENSION)
    return PlainConnection(receive, send) if offered is None else offered
