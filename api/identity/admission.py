"""Admission: the objects by which one process shares its time and connections between its clients."""

from dataclasses import dataclass

from api.identity.clients import Clients
from api.identity.errors import Overloaded, RateLimited
from api.identity.gate import LATE_FOR_READS, Gate
from api.identity.quota import Quota
from api.identity.refusals import Refusals
from api.identity.turns import Turns

REQUEST, READ = "a request", "a read"
"""What is refused: a request before it begins, or one that is known to change nothing."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Each object exists once in a process: its protocols and its application use the same.

    `gate`: the order in which requests begin.
    `turns`: for long work, such as new documents, long lists, and floods of input.
    `connections`: the quota of open connections.
    `sockets`: the quota of open websockets and event streams.
    """

    clients: Clients
    gate: Gate
    turns: Turns
    connections: Quota
    sockets: Quota
    refusals: Refusals

    @property
    def no_socket(self) -> str:
        """The message for a client that gets no socket: all are open, and no other client would have to give way."""
        return f"All {self.sockets.size} sockets of this server are open; try again later"

    def refuse(self, client: str, what: str) -> RateLimited:
        """Count a request that is refused because too many wait at the gate. Returns its error."""
        limit = self.gate.refusal(client)
        why = ", as too many wait," if isinstance(limit, Overloaded) else ", as too many of its client wait,"
        self.refusals.count(f"{what}{why}", client)
        return limit

    def require_time_to_read(self, client: str) -> None:
        """Raise RateLimited when other requests wait so long that reads are refused."""
        if self.gate.wait(client) > LATE_FOR_READS:
            raise self.refuse(client, READ)
