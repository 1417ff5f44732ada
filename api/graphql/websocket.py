"""GraphQL over websockets: the protocol graphql-transport-ws, spoken as npm's graphql-ws, its reference, speaks it."""

import asyncio
import re
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

import orjson
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from api.graphql.connection import Connection, FrameParts, connection_of
from api.graphql.departure import Departure
from api.graphql.engine import Engine, Refused, Request, Run, Watch
from api.graphql.errors import internal_error, rate_limited_error
from api.graphql.headers import headers_of, text_of
from api.graphql.origins import may_connect, refuse_page
from api.graphql.outlet import Outlet
from api.graphql.tracing import PARENT, STATE, begin_operation, ended_with, executed
from api.graphql.watching import MAX_OPERATIONS, TOO_MANY, Watching
from api.graphql.websocket_messages import (
    SERVICE_RESTART,
    TRY_AGAIN_LATER,
    WITHOUT_FAULT,
    Closing,
    checked_message,
    request_of,
    token_ended,
)
from api.identity.caller import Caller, client_key
from api.identity.errors import RateLimited
from api.identity.quota import QuotaSpent
from api.tracing.request_trace import RequestTrace

PROTOCOL = "graphql-transport-ws"


class GraphQLSocket:
    """The ASGI application behind the websocket at /graphql."""

    def __init__(
        self,
        engine: Engine,
        allowed_origins: re.Pattern[str],
        init_timeout: float,
    ) -> None:
        """`allowed_origins` matches the origins of other sites whose pages may connect. `init_timeout` in seconds: a
        socket that has not sent connection_init by then is closed with 4408."""
        self.engine = engine
        self._allowed_origins = allowed_origins
        self.init_timeout = init_timeout

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        admission = self.engine.admission
        if not may_connect(websocket, self._allowed_origins):
            await refuse_page(websocket, admission)
            return
        if PROTOCOL not in scope["subprotocols"]:
            await websocket.accept()
            await websocket.close(4406, f"Subprotocol not acceptable; this server speaks {PROTOCOL}")
            return
        address = admission.clients.of(scope)
        authorization = websocket.headers.get("authorization")
        try:
            caller = await self.engine.authenticator.identify(authorization, address)
            session = Session(self, connection_of(scope, receive, send), address, authorization, caller)
            if self.engine.tracing is not None:
                headers = headers_of(scope)
                session.handshake = text_of(headers, PARENT), text_of(headers, STATE)
        except (QuotaSpent, RateLimited) as refusal:
            reason = str(refusal) if isinstance(refusal, RateLimited) else admission.no_socket
            await websocket.accept(subprotocol=PROTOCOL)
            await websocket.close(TRY_AGAIN_LATER, reason)
            return
        await session.run()


class Session:
    """One socket: its caller, and its operations under way, by id.

    Where the server can do that, the session is parked after a message, unless a query or a mutation is under way.
    """

    __slots__ = (
        *("_accepted", "_address", "_authorization", "_caller", "_claim", "_connection", "_engine", "_executing"),
        *("_init_timeout", "_initialised", "_late", "_operations", "_outlet", "_timeout", "_unfinished", "handshake"),
    )

    def __init__(
        self, server: GraphQLSocket, connection: Connection, address: str, authorization: str | None, caller: Caller
    ) -> None:
        """`address` is where the socket comes from. `authorization` and `caller` are those of the handshake;
        connection_init can name others. Raises QuotaSpent."""
        self._engine = server.engine
        self._init_timeout = server.init_timeout
        self._connection = connection
        self._address = address
        self._authorization = authorization
        self._caller = caller
        self._accepted = self._initialised = False
        self._timeout: asyncio.Timeout | None = None
        """Ends the listening when the socket has to be closed; None while the session is parked."""
        self._late: Closing | None = None
        """Why the timeout came, if it was not for a missing connection_init."""
        self.handshake = "", ""
        """The headers of a trace that the client sent with its handshake; see begin_operation."""
        self._operations: dict[str, Departure | Watching] = {}
        self._executing = 0
        """Queries and mutations that are executing, those that the client has completed among them."""
        self._unfinished = 0
        """Tasks of queries and mutations, those that wait until they can send their response among them."""
        self._outlet: Outlet[FrameParts] = Outlet(partial(_send_frame, connection.send), connection.write)
        self._claim = server.engine.admission.sockets.take(self._client, 1, self.give_way)

    @property
    def _client(self) -> str:
        """The client that is charged for the socket and for its messages."""
        return client_key(self._address, self._caller)

    async def run(self) -> None:
        """Serve the socket until either side closes it, or until it is parked: then this is called again. When the
        socket is closed, no operation is left.

        No exception may leave the group of tasks: its traceback would leave the whole session to the garbage collector.
        """
        parked = False
        try:
            async with asyncio.TaskGroup() as tasks:
                closing = await self._listen(tasks)
                parked = self._timeout is None
                if not parked and (closing is None or closing.code not in WITHOUT_FAULT):
                    for operation in self._operations.values():
                        operation.leave()
                    self._operations.clear()
            if closing is not None:
                with suppress(OSError):
                    await self._connection.send(
                        {"type": "websocket.close", "code": closing.code, "reason": closing.reason}
                    )
        finally:
            if not parked:
                self._engine.admission.sockets.give_back(self._claim)
                del self._claim  # the claim and this session refer to each other

    def give_way(self) -> None:
        """Close the socket to make room for a client with fewer."""
        self._late = Closing(TRY_AGAIN_LATER, self._engine.admission.no_socket)
        if self._timeout is None:
            self._connection.wake()
            return
        with suppress(RuntimeError):  # it is being closed already
            self._timeout.reschedule(asyncio.get_running_loop().time())

    async def _listen(self, tasks: asyncio.TaskGroup) -> Closing | None:
        """Handle messages until the socket is parked or has to be closed. Returns why it has to be closed; None when
        its client has left, or when it is parked. Unless it is parked, no stock is sent afterwards."""
        gate = self._engine.admission.gate
        self._timeout = asyncio.timeout(self._seconds_left())
        try:
            async with self._timeout:
                if not self._accepted:
                    await self._accept()
                while not self._park():
                    message = await self._receive()
                    await gate.entered(self._client)
                    await gate.metered_apart(self._client, self._handle(message, tasks))
        except TimeoutError:
            return self._late or Closing(4408, "Connection initialisation timeout")
        except RateLimited as limit:
            return Closing(TRY_AGAIN_LATER, str(limit))
        except Closing as closing:
            return closing
        except (WebSocketDisconnect, OSError):
            return None
        finally:
            if self._timeout is not None:
                self._outlet.close()
                for operation_id, operation in list(self._operations.items()):
                    if isinstance(operation, Watching):
                        self._operations.pop(operation_id).leave()
        return None

    def _seconds_left(self) -> float | None:
        if self._late is not None:  # the session was parked when it had to give way
            return 0.0
        return None if self._initialised else self._init_timeout

    def _park(self) -> bool:
        """Park the session, if its next step is to receive a message. Returns whether it is parked."""
        if not self._initialised or self._unfinished or self._late is not None:
            return False
        if not self._connection.park(self.run):
            return False
        self._timeout = None
        return True

    async def _accept(self) -> None:
        await self._connection.receive()  # websocket.connect
        await self._connection.send({"type": "websocket.accept", "subprotocol": PROTOCOL})
        self._accepted = True

    async def _receive(self) -> dict[str, Any]:
        event = await self._connection.receive()
        if event["type"] == "websocket.disconnect":
            if event["code"] == SERVICE_RESTART:  # sent by the server when it stops
                raise Closing(SERVICE_RESTART, "The server restarts")
            raise WebSocketDisconnect(event["code"])
        text = event.get("text")
        if text is None:
            raise Closing(4400, "Message must be text")
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Closing(4400, "Message must be JSON") from None
        return checked_message(message)

    async def _handle(self, message: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
        match message["type"]:
            case "connection_init":
                await self._initialise(message.get("payload") or {})
            case "ping":
                await self._answer_ping(message.get("payload"))
            case "subscribe":
                await self._start(message["id"], message["payload"], tasks)
            case "complete" if message["id"] in self._operations:
                self._operations.pop(message["id"]).leave()

    async def _initialise(self, payload: dict[str, Any]) -> None:
        """Begin the session. A token that is not valid makes an anonymous caller, who may watch and read what is
        public. If it closed the socket, clients would connect again with the same token, again and again."""
        if self._initialised:
            raise Closing(4429, "Too many initialisation requests")
        self._initialised = True
        if self._timeout is not None:
            self._timeout.reschedule(None)
        # Browsers cannot set headers on a websocket, so the token may be in the payload.
        authorization = {name.lower(): value for name, value in payload.items()}.get("authorization")
        if isinstance(authorization, str):
            try:
                self._caller = await self._engine.authenticator.identify(authorization, self._address)
            except RateLimited as limit:
                raise Closing(TRY_AGAIN_LATER, str(limit)) from None
            self._authorization = authorization
            self._engine.admission.sockets.move(self._claim, self._client)
        await self._send({"type": "connection_ack"})

    async def _answer_ping(self, payload: dict[str, Any] | None) -> None:
        try:
            await self._send({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})
        except orjson.JSONEncodeError:
            raise Closing(4400, "The payload of ping is nested too deeply") from None

    async def _start(self, operation_id: str, payload: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
        if not self._initialised:
            raise Closing(4401, "Unauthorized: send connection_init first")
        if operation_id in self._operations:
            raise Closing(4409, f"Subscriber for {operation_id[:20]!a} already exists")
        watching = sum(isinstance(operation, Watching) for operation in self._operations.values())
        if watching + self._executing >= MAX_OPERATIONS:
            # Nothing is kept of it, so a flood of these costs what a flood of invalid documents does.
            await self._send({"id": operation_id, "type": "error", "payload": [TOO_MANY]})
            return
        try:
            prepared = await self._prepare(request_of(payload))
        except Refused as refused:
            await self._send({"id": operation_id, "type": "error", "payload": refused.errors})
            return
        except RateLimited as limit:
            await self._send({"id": operation_id, "type": "error", "payload": [rate_limited_error(limit)]})
            return
        if isinstance(prepared, Watch):
            self._watch(operation_id, prepared)
            return
        departure = self._operations[operation_id] = Departure()
        trace = begin_operation(self._engine.tracing, payload.get("extensions"), self.handshake, departure)
        running = self._run(operation_id, prepared, departure, trace)
        if trace.span is not None:
            running = ended_with(trace.span, running)
        task = tasks.create_task(self._engine.admission.gate.metered(prepared.client, running))
        task.add_done_callback(self._finished)
        self._executing += 1
        self._unfinished += 1

    def _finished(self, _: asyncio.Task[None]) -> None:
        self._unfinished -= 1

    async def _prepare(self, request: Request) -> Run | Watch:
        """Prepare an operation for the caller. Raises Refused, RateLimited.

        The caller's token is checked again, since it can have expired. Raises Closing if it is not valid any more,
        except for subscriptions: anyone may watch live stock.
        """
        caller = self._caller
        if caller.expires_at < inf:
            caller = await self._engine.authenticator.identify(self._authorization, self._address)
        ended = bool(caller.objection) and not self._caller.objection and not caller.issuer_away
        try:
            prepared = await self._engine.prepare(request, caller, self._address)
        except Refused:
            if ended:  # the request may be one that only operators may send
                raise token_ended() from None
            raise
        if ended and isinstance(prepared, Run):
            raise token_ended()
        return prepared

    def _watch(self, operation_id: str, watch: Watch) -> None:
        broadcasts = self._engine.broadcasts
        watching = self._operations[operation_id] = Watching(operation_id, self._operations, self._outlet, broadcasts)
        watching.broadcast = broadcasts.join(watch.topic, watch.document, watching, watch.client)

    async def _run(self, operation_id: str, run: Run, departure: Departure, trace: RequestTrace) -> None:
        """Run a query or mutation and send its response, unless its client has left."""
        errors: list[dict[str, Any]] = []
        try:
            response = await executed(self._engine, run, departure, trace)
        except Refused as refused:
            errors = refused.errors
        except RateLimited as limit:
            errors = [rate_limited_error(limit)]
        except Exception as error:
            errors = [internal_error(error, "/graphql", trace)]
        finally:
            self._executing -= 1
        if departure.left:
            return
        # Before its last message is sent: after that the client may use the id again.
        del self._operations[operation_id]
        with suppress(OSError):
            if errors:
                await self._send({"id": operation_id, "type": "error", "payload": errors})
            else:
                payload = orjson.Fragment(response.body)
                await self._send({"id": operation_id, "type": "next", "payload": payload})
                await self._send({"id": operation_id, "type": "complete"})

    async def _send(self, message: dict[str, Any]) -> None:
        # As text: bytes would become a binary frame, and graphql-ws clients close on those.
        await self._connection.send({"type": "websocket.send", "text": orjson.dumps(message).decode()})


async def _send_frame(send: Send, frame: FrameParts) -> None:
    """Send a message of a broadcast when the connection has room. Raises OSError when the client has left."""
    _, *text = frame
    await send({"type": "websocket.send", "text": b"".join(text).decode()})
