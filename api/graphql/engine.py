"""The engine: what executes the operations of one process, whichever way they come."""

from dataclasses import dataclass
from typing import Any

from graphql import OperationType

from api.drops.drops import Drops
from api.graphql.broadcast import Broadcasts
from api.graphql.context import Context
from api.graphql.departure import Departure
from api.graphql.documents import Document, Documents
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

    async def prepare(
        self, query: str, operation_name: str | None, variables: dict[str, Any] | None, caller: Caller, client: str
    ) -> tuple[Document, OperationType | None]:
        """The document of a request, and what kind of operation would run; None when the name fits none, which the
        execution then explains. Raises InvalidDocument, also for what a stranger may not ask for, and RateLimited."""
        stranger = not caller.operator
        document = await self.documents.get(query, client, trusted_only=stranger)
        bounded = stranger and self.documents.bounds_cost
        operation = document.operation(operation_name, variables, bounded=bounded)
        return document, None if operation is None else operation.type

    def context(self, caller: Caller, client: str, departure: Departure) -> Context:
        """The context of one operation."""
        return Context(self.drops, caller, client, self.admission.turns, self.admission.gate, departure)
