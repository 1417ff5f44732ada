"""Many operations on one event stream: npm's graphql-sse in single connection mode.

A browser opens six connections to a server over HTTP/1.1, and each event stream occupies one. In this mode a page has
one stream for all its operations. PUT reserves the stream, GET opens it, POST starts an operation whose responses come
on the stream, and DELETE ends an operation. The rules are those of graphql-sse's PROTOCOL.md, except one: errors of a
document come on the stream, too, since the client of graphql-sse takes any answer but 202 for a fault of the network,
and never shows its message.
"""

import asyncio
import secrets
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from api.graphql.broadcast import Broadcast, Broadcasts
from api.graphql.departure import Departure
from api.graphql.engine import Engine, Refused, Request, Run, Watch
from api.graphql.errors import fell_behind_error, internal_error, rate_limited_error
from api.graphql.event_stream import EventStream, Parts, send_events
from api.graphql.headers import Headers, text_of
from api.graphql.outlet import Outlet
from api.graphql.requests import Refusal, names_document
from api.graphql.shared_response import SharedResponse
from api.graphql.watching import END, MAX_OPERATIONS, TOO_MANY
from api.graphql.websocket_messages import MAX_ID
from api.identity.caller import client_key
from api.identity.errors import RateLimited
from api.identity.quota import Claim
from api.tracing.request_trace import RequestTrace

TOKEN = b"x-graphql-event-stream-token"
"""The header that names a stream. Where it is missing, the parameter `token` does."""

DISTINCT = (
    "this server has several processes, and a stream is in one of them; use a stream for each operation, with "
    "singleConnection: false in graphql-sse"
)


def token_of(scope: Scope, headers: Headers) -> str | None:
    """The token of the stream that a request belongs to; None for a request without a stream."""
    if TOKEN in headers:
        return text_of(headers, TOKEN)
    query_string: bytes = scope["query_string"]
    if b"token=" not in query_string or names_document(query_string):
        return None
    return _parameter(query_string, "token")


def _parameter(query_string: bytes, name: str) -> str | None:
    values = parse_qs(query_string.decode("latin-1")).get(name)
    return None if values is None else values[-1]


class EventSessions:
    """The sessions of a process, by their tokens."""

    def __init__(self, engine: Engine, patience: float) -> None:
        """`patience`: seconds until a reserved stream is opened."""
        self._engine = engine
        self._patience = patience
        self._sessions: dict[str, EventSession] = {}

    async def reserve(self, authorization: str, address: str) -> str:
        """Reserve a stream, and return its token. Raises QuotaSpent, RateLimited."""
        caller = await self._engine.authenticator.identify(authorization, address)
        token = secrets.token_urlsafe(16)
        session = EventSession(self, token, self._engine)
        session.claim = self._engine.admission.sockets.take(client_key(address, caller), 1, session.give_way)
        session.expiry = asyncio.get_running_loop().call_later(self._patience, session.close)
        self._sessions[token] = session
        return token

    def find(self, token: str | None) -> "EventSession":
        """Raises Refusal."""
        session = self._sessions.get(token or "")
        if session is None:
            raise Refusal(404, "this server has no stream of this token: it has ended, or was not opened in time; PUT")
        return session

    def forget(self, token: str) -> bool:
        """Forget a session that ends. Returns False when it was forgotten before."""
        return self._sessions.pop(token, None) is not None


class EventSession:
    """One event stream, and its operations under way, by id."""

    claim: Claim
    expiry: asyncio.TimerHandle

    def __init__(self, sessions: EventSessions, token: str, engine: Engine) -> None:
        self._sessions = sessions
        self._token = token
        self._engine = engine
        self._stream: EventStream | None = None
        self._tasks: asyncio.TaskGroup | None = None
        """Of the queries and mutations; None while the stream is not open."""
        self._operations: dict[str, Departure | _Watching] = {}
        self._executing = 0
        """Queries and mutations that are executing, those that the client has ended among them."""

    def give_way(self) -> None:
        """End the stream to make room for a client with fewer."""
        if self._stream is None:
            self.close()
        else:
            self._stream.give_way()

    def close(self) -> None:
        """End the session. Without effect when it has ended."""
        if self._sessions.forget(self._token):
            self.expiry.cancel()
            self._engine.admission.sockets.give_back(self.claim)
            del self.claim  # the claim and this session refer to each other

    async def serve(self, send: Send, receive: Receive, comment_interval: float) -> None:
        """Send the responses of all operations until the client disconnects or the server stops. Raises Refusal."""
        if self._stream is not None:
            raise Refusal(409, "the stream of this token is open already")
        self.expiry.cancel()
        self._stream = stream = EventStream(send)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                try:
                    await send_events(stream, receive, lambda: None, _leave_nothing, comment_interval)
                finally:
                    self._tasks = None
                    for operation in self._operations.values():
                        operation.leave()
                    self._operations.clear()
        finally:
            self.close()

    async def start(self, request: Request, authorization: str, address: str) -> None:
        """Start an operation, whose responses and errors come on the stream. Raises Refusal, RateLimited."""
        operation_id = request.operation_id
        if operation_id is None or len(operation_id) > MAX_ID:
            raise Refusal(400, f"extensions.operationId must be a string of at most {MAX_ID} characters")
        outlet, _ = self._admit(operation_id)
        if outlet is None:
            return
        await outlet.flush()  # a client that does not read starts nothing
        caller = await self._engine.authenticator.identify(authorization, address)
        try:
            prepared = await self._engine.prepare(request, caller, address)
        except Refused as refused:
            self._answer(operation_id, orjson.dumps({"errors": refused.errors}))
            return
        outlet, tasks = self._admit(operation_id)  # again: others have come meanwhile, or the stream has ended
        if outlet is None:
            return
        if isinstance(prepared, Watch):
            broadcasts = self._engine.broadcasts
            watching = self._operations[operation_id] = _Watching(operation_id, self._operations, outlet, broadcasts)
            watching.broadcast = broadcasts.join(prepared.topic, prepared.document, watching, prepared.client)
            return
        departure = self._operations[operation_id] = Departure()
        self._executing += 1
        running = self._run(operation_id, prepared, departure, outlet)
        tasks.create_task(self._engine.admission.gate.metered(prepared.client, running))

    def end(self, query_string: bytes) -> None:
        """End the operation that a DELETE names, if it has not ended. Raises Refusal."""
        operation_id = _parameter(query_string, "operationId")
        if operation_id is None:
            raise Refusal(400, "DELETE ends the operation of the parameter operationId")
        if operation_id in self._operations:
            self._operations.pop(operation_id).leave()

    def _admit(self, operation_id: str) -> tuple[Outlet[Parts] | None, asyncio.TaskGroup]:
        """The outlet and the tasks of the stream for one operation more; no outlet where there are too many, and the
        client has been sent that. Raises Refusal."""
        if self._stream is None or self._tasks is None:
            raise Refusal(409, "open the stream first: GET with its token, and accept: text/event-stream")
        if operation_id in self._operations:
            raise Refusal(409, "an operation of this operationId is under way")
        watching = sum(isinstance(operation, _Watching) for operation in self._operations.values())
        if watching + self._executing >= MAX_OPERATIONS:
            self._answer(operation_id, orjson.dumps({"errors": [TOO_MANY]}))
            return None, self._tasks
        return self._stream.outlet, self._tasks

    async def _run(self, operation_id: str, run: Run, departure: Departure, outlet: Outlet[Parts]) -> None:
        """Run a query or a mutation and send its response, unless its client has left."""
        try:
            body = (await self._engine.run(run, departure)).body
        except Refused as refused:
            body = orjson.dumps({"errors": refused.errors})
        except RateLimited as limit:
            body = orjson.dumps({"errors": [rate_limited_error(limit)]})
        except Exception as error:
            body = orjson.dumps({"errors": [internal_error(error, "/graphql", RequestTrace())]})
        finally:
            self._executing -= 1
        await (
            outlet.flush()
        )  # so that no more than the responses of MAX_OPERATIONS wait for a client that does not read
        if not departure.left:
            del self._operations[operation_id]
            self._answer(operation_id, body)

    def _answer(self, operation_id: str, response: bytes) -> None:
        """Send the only response of an operation, and its end. A stream whose client does not read ends."""
        stream = self._stream
        message = *_next(operation_id, response), _complete(operation_id)
        if stream is not None and not stream.outlet.put(operation_id, None, message):
            stream.give_way()


class _Watching:
    """A subscription of a session: the broadcast's subscriber, which adds its operation's id to each response."""

    __slots__ = ("_broadcasts", "_id", "_operations", "_outlet", "broadcast")

    def __init__(
        self,
        operation_id: str,
        operations: "dict[str, Departure | _Watching]",
        outlet: Outlet[Parts],
        broadcasts: Broadcasts,
    ) -> None:
        self._id = operation_id
        self._operations = operations
        self._outlet = outlet
        self._broadcasts = broadcasts
        self.broadcast: Broadcast | None = None

    def next(self, subject: str | None, response: SharedResponse) -> None:
        if not self._outlet.put(self._id, subject, _next(self._id, response.json)):
            assert self.broadcast is not None, "it has joined"
            self._broadcasts.leave(self.broadcast, self)
            self.end([fell_behind_error()])

    def end(self, errors: list[dict[str, Any]]) -> None:
        self._operations.pop(self._id, None)
        last = _next(self._id, orjson.dumps({"errors": errors})) if errors else ()
        self._outlet.put(self._id, END, (*last, _complete(self._id)))

    def leave(self) -> None:
        """Unsubscribe: the client has ended the operation, or the stream ends."""
        if self.broadcast is not None:
            self._broadcasts.leave(self.broadcast, self)
        self._outlet.drop(self._id)


def _next(operation_id: str, response: bytes) -> Parts:
    return b'event: next\ndata: {"id":' + orjson.dumps(operation_id) + b',"payload":', response, b"}\n\n"


def _complete(operation_id: str) -> bytes:
    return b'event: complete\ndata: {"id":' + orjson.dumps(operation_id) + b"}\n\n"


def _leave_nothing(*_: object) -> None:
    """The stream itself has joined no broadcast: its operations have."""
