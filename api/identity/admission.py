"""Admission: what one process shares itself out with between its clients."""

from dataclasses import dataclass

from api.identity.clients import Clients
from api.identity.gate import Gate
from api.identity.quota import Quota
from api.identity.refusals import Refusals
from api.identity.turns import Turns


@dataclass(frozen=True, slots=True)
class Admission:
    """One of each for a whole process: its protocols and its application use the same.

    `gate`: the order in which requests begin.
    `turns`: for what takes more than a moment, such as new documents, long lists, and floods of input.
    `connections`: those that are open.
    `sockets`: websockets and event streams, which stay open.
    """

    clients: Clients
    gate: Gate
    turns: Turns
    connections: Quota
    sockets: Quota
    refusals: Refusals

    @property
    def no_socket(self) -> str:
        """The message for a client that wants to stay connected when nobody holds more than it would."""
        return f"All {self.sockets.size} sockets of this server are open; try again later"
