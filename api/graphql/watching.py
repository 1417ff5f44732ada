"""One subscription of a websocket."""

from typing import Any

import orjson

from api.drops.stock import MAX_WATCHED
from api.graphql.broadcast import Broadcast, Broadcasts
from api.graphql.connection import FrameParts
from api.graphql.departure import Departure
from api.graphql.errors import fell_behind_error, too_many_operations_error
from api.graphql.outlet import Outlet
from api.graphql.shared_response import SharedResponse, beginning_of, header_of

MAX_OPERATIONS = 200
"""Operations of one connection at a time: a page of 100 products can have a subscription for each, and others beside
them. A subscription takes 0.3 kB."""

TOO_MANY = too_many_operations_error(
    f"A connection can have {MAX_OPERATIONS} operations at a time. End one, or watch up to {MAX_WATCHED} products in "
    "one subscription."
)
"""The error that refuses one operation more. The others go on."""

END = ""
"""The slot of an operation's last message."""


class Watching:
    """A subscription of a socket: the broadcast's subscriber, which adds its operation's id to each response."""

    __slots__ = ("_beginning", "_broadcasts", "_id", "_operations", "_outlet", "broadcast")

    def __init__(
        self,
        operation_id: str,
        operations: "dict[str, Departure | Watching]",
        outlet: Outlet[FrameParts],
        broadcasts: Broadcasts,
    ) -> None:
        """`operations`: those of the socket, by their ids. The subscription removes itself when it ends."""
        self._id = operation_id
        self._beginning = beginning_of(operation_id)
        self._operations = operations
        self._outlet = outlet
        self._broadcasts = broadcasts
        self.broadcast: Broadcast | None = None

    def next(self, subject: str | None, response: SharedResponse) -> None:
        if not self._outlet.put(self._id, subject, response.frame(self._beginning)):
            assert self.broadcast is not None, "it has joined"
            self._broadcasts.leave(self.broadcast, self)
            self.end([fell_behind_error()])

    def end(self, errors: list[dict[str, Any]]) -> None:
        # Before its last message is sent: after that the client may use the id again.
        del self._operations[self._id]
        message = orjson.dumps(
            {"id": self._id, "type": "error", "payload": errors} if errors else {"id": self._id, "type": "complete"}
        )
        self._outlet.put(self._id, END, (header_of(len(message)), message))

    def leave(self) -> None:
        """Unsubscribe: the client has completed the operation, or the socket ends."""
        if self.broadcast is not None:
            self._broadcasts.leave(self.broadcast, self)
        self._outlet.drop(self._id)
