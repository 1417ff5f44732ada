"""The engine: what executes the operations of one process, whichever way they come."""

from dataclasses import dataclass

from api.drops.drops import Drops
from api.graphql.broadcast import Broadcasts
from api.graphql.context import Context
from api.graphql.departure import Departure
from api.graphql.documents import Documents
from api.graphql.execution import Executor
from api.identity.admission import Admission
from api.identity.caller import Authenticator, Caller


@dataclass(frozen=True, slots=True)
class Engine:
    """One of each for a whole process."""

    drops: Drops
    executor: Executor
    documents: Documents
    broadcasts: Broadcasts
    authenticator: Authenticator
    admission: Admission

    def context(self, caller: Caller, client: str, departure: Departure) -> Context:
        """The context of one operation."""
        return Context(self.drops, caller, client, self.admission.turns, self.admission.gate, departure)
