"""The engine: prepares and runs the operations of one process, over HTTP and over websockets alike."""

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from graphql import OperationType

from api.drops.drops import Drops
from api.graphql.broadcast import Broadcasts, Topic
from api.graphql.context import Context
from api.graphql.departure import Departure
from api.graphql.documents import Document, Documents
from api.graphql.execution import CannotSubscribe, Executor, format_errors
from api.graphql.persisted import DocumentId
from api.graphql.response import Response
from api.graphql.shared_reads import Read, SharedReads
from api.graphql.validation import InvalidDocument
from api.identity.admission import Admission
from api.identity.authenticator import Authenticator
from api.identity.caller import Caller, client_key
from api.identity.quota import QuotaSpent
from api.tracing.request_trace import RequestTrace

if TYPE_CHECKING:
    from api.tracing.tracing import Tracing


class Refused(Exception):
    """The request is not executed; `errors` are the entries of its response."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors[0]["message"])
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Request:
    """The parameters of a GraphQL request, of the right types. `query` or `document_id` is not None. `operation_id`
    names the operation among those of one event stream."""

    query: str | None
    operation_name: str | None
    variables: dict[str, Any] | None
    document_id: DocumentId | None = None
    operation_id: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """A query or a mutation, ready to run. `client` is charged for it; it came from `address`. `read` is None if the
    response can depend on the caller."""

    document: Document
    request: Request
    caller: Caller
    client: str
    address: str
    mutation: bool
    read: Read | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A subscription, ready to be joined: see Broadcasts.join. `client` is charged for it."""

    topic: Topic
    document: Document
    client: str


@dataclass(frozen=True, slots=True)
class Engine:
    """The objects that all operations of a process share: one of each. `tracing` is None where traces are off."""

    drops: Drops
    executor: Executor
    documents: Documents
    broadcasts: Broadcasts
    reads: SharedReads
    authenticator: Authenticator
    admission: Admission
    tracing: "Tracing | None" = None

    async def prepare(self, request: Request, caller: Caller, address: str) -> Run | Watch:
        """Check a request and make its document ready. `address` is where the request came from.

        A name that fits no operation is left to the execution, which explains it. Raises Refused, also for what a
        stranger may not send, and RateLimited.
        """
        stranger = not caller.operator
        client = client_key(address, caller)
        name, variables = request.operation_name, request.variables
        try:
            text = self.documents.text_of(request.query, request.document_id)
            document = await self.documents.get(text, client, trusted_only=stranger)
            bounded = stranger and self.documents.bounds_cost
            operation = document.operation(name, variables, bounded=bounded)
            mutation = operation is not None and operation.type is OperationType.MUTATION
            if not mutation:
                self.admission.require_time_to_read(client)
            if operation is not None and operation.type is OperationType.SUBSCRIPTION:
                return Watch(Topic.of(document, name, variables, caller), document, client)
        except InvalidDocument as invalid:
            raise Refused(format_errors(invalid.errors, code=invalid.code)) from None
        except CannotSubscribe as refusal:
            raise Refused(format_errors(refusal.errors)) from None
        read = Read.of(document, name, variables) if operation is not None and operation.public else None
        return Run(document, request, caller, client, address, mutation, read)

    async def run(self, run: Run, departure: Departure, trace: RequestTrace | None = None) -> Response:
        """Execute a query or a mutation and return its response. `departure` is that of its client. Raises Refused,
        RateLimited."""
        if run.read is not None:
            with suppress(QuotaSpent):
                return await self.reads.respond(run.read, run.client, departure)
        turns, gate, request = self.admission.turns, self.admission.gate, run.request
        new_guest = partial(self.authenticator.new_guest, run.address)
        context = Context(self.drops, run.caller, run.client, turns, gate, departure, new_guest, trace)
        return await respond(self.executor, run.document, request.operation_name, request.variables, context)


async def respond(
    executor: Executor, document: Document, name: str | None, variables: dict[str, Any] | None, context: Context
) -> Response:
    """Execute the operation of this name and return its response. Raises Refused when the request failed before any
    field was resolved, such as for variables of other types."""
    response = await executor.execute(document, name, variables, context)
    if "data" not in response:
        raise Refused(response["errors"])
    return Response(orjson.dumps(response))
