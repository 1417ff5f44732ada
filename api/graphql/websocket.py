"""GraphQL over websockets: the protocol graphql-transport-ws, spoken as npm's graphql-ws, its reference, speaks it."""

import asyncio
import logging
import re
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any

import orjson
from graphql import ExecutionResult, GraphQLError, OperationType
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect
from strawberry.http.websocket_origin import is_same_origin

from api.drops.drops import Drops
from api.graphql.caller import Authenticator
from api.graphql.context import Context
from api.graphql.documents import Documents, InvalidDocument, operation_type
from api.graphql.errors import client_error, format_error, internal_error
from api.graphql.execution import Executor, format_errors, response_of

logger = logging.getLogger("dropzero.websocket")

PROTOCOL = "graphql-transport-ws"

INIT_TIMEOUT = 10.0
"""Seconds. A socket that has not sent connection_init by then is closed with 4408."""

SEND_TIMEOUT = 10.0
"""Seconds. A socket that does not take a message in that time is given up: its client reads no more."""

MAX_OPERATIONS = 100
"""Operations of one socket at a time."""


class Violation(Exception):
    """The client broke the protocol: the code and the reason to close its socket with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Stalled(Exception):
    """The client does not read what it is sent."""


class GraphQLSocket:
    """The ASGI application behind the websocket at /graphql."""

    def __init__(
        self,
        drops: Drops,
        executor: Executor,
        documents: Documents,
        authenticator: Authenticator,
        allowed_origins: re.Pattern[str],
    ) -> None:
        """`allowed_origins` matches the origins of other sites whose pages may connect."""
        self.drops = drops
        self.executor = executor
        self.documents = documents
        self.authenticator = authenticator
        self._allowed_origins = allowed_origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        websocket = WebSocket(scope, receive, send)
        if not self._may_connect(websocket):
            origin, host = websocket.headers["origin"], websocket.headers.get("host")
            logger.warning("refused a page of %r a socket to %r; DROPZERO_ALLOWED_ORIGINS would allow it", origin, host)
            await websocket.send_denial_response(PlainTextResponse("pages of this origin may not connect\n", 403))
        elif PROTOCOL not in scope["subprotocols"]:
            await websocket.accept()
            await websocket.close(4406, f"Subprotocol not acceptable; this server speaks {PROTOCOL}")
        else:
            await websocket.accept(subprotocol=PROTOCOL)
            await Session(self, websocket).run()

    def _may_connect(self, websocket: WebSocket) -> bool:
        """Browsers let any page open a socket to any host and say whose page it is; this is the only check there is.

        Without an Origin it is no browser. Sec-Fetch-Site is the browser's own word too, and holds where a proxy
        has changed the Host.
        """
        headers = websocket.headers
        origin = headers.get("origin")
        return (
            origin is None
            or headers.get("sec-fetch-site") == "same-origin"
            or is_same_origin(origin, headers.get("host"))
            or self._allowed_origins.fullmatch(origin) is not None
        )


class Session:
    """One socket: its caller, and its operations under way, by id."""

    def __init__(self, server: GraphQLSocket, websocket: WebSocket) -> None:
        self._server = server
        self._websocket = websocket
        self._caller = server.authenticator.identify(websocket.headers.get("authorization"))
        self._initialised = False
        self._until_initialised = asyncio.timeout(INIT_TIMEOUT)
        self._tasks = asyncio.TaskGroup()
        self._operations: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Serve the socket until either side closes it. When this returns, no operation is left."""
        try:
            async with self._tasks:
                violation = await self._listen()
                for operation in self._operations.values():
                    operation.cancel()
            await _in_time(self._websocket.close(violation.code, violation.reason))
        except* WebSocketDisconnect:
            pass
        except* Stalled:
            logger.info("gave up a socket that took no message for %g seconds", SEND_TIMEOUT)

    async def _listen(self) -> Violation:
        """Handle messages until one is not as it should be, and return what is wrong with it."""
        try:
            async with self._until_initialised:
                while True:
                    await self._handle(await self._receive())
        except TimeoutError:
            return Violation(4408, "Connection initialisation timeout")
        except Violation as violation:
            return violation

    async def _receive(self) -> dict[str, Any]:
        event = await self._websocket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(event["code"])
        text = event.get("text")
        if text is None:
            raise Violation(4400, "Message must be text")
        try:
            message = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise Violation(4400, "Message must be JSON") from None
        return checked_message(message)

    async def _handle(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connection_init":
                await self._initialise(message.get("payload") or {})
            case "ping":
                await self._answer_ping(message.get("payload"))
            case "subscribe":
                await self._start(message["id"], message["payload"])
            case "complete" if message["id"] in self._operations:
                self._operations.pop(message["id"]).cancel()

    async def _initialise(self, payload: dict[str, Any]) -> None:
        if self._initialised:
            raise Violation(4429, "Too many initialisation requests")
        self._initialised = True
        self._until_initialised.reschedule(None)
        # Browsers cannot set headers on a websocket, so the operator's token may come here.
        authorization = {name.lower(): value for name, value in payload.items()}.get("authorization")
        if isinstance(authorization, str):
            self._caller = self._server.authenticator.identify(authorization)
        await self._send({"type": "connection_ack"})

    async def _answer_ping(self, payload: dict[str, Any] | None) -> None:
        try:
            await self._send({"type": "pong"} if payload is None else {"type": "pong", "payload": payload})
        except orjson.JSONEncodeError:
            raise Violation(4400, "The payload of ping is nested too deeply") from None

    async def _start(self, operation_id: str, payload: dict[str, Any]) -> None:
        if not self._initialised:
            raise Violation(4401, "Unauthorized: send connection_init first")
        if operation_id in self._operations:
            # The reason of a close frame has 123 bytes at most, which the id alone may exceed.
            raise Violation(4409, f"Subscriber for {operation_id[:20]!a} already exists")
        if len(self._operations) >= MAX_OPERATIONS:
            errors = [client_error(f"a socket can have {MAX_OPERATIONS} operations at a time; complete one first")]
            await self._send({"id": operation_id, "type": "error", "payload": errors})
            return
        self._operations[operation_id] = self._tasks.create_task(self._run(operation_id, payload))

    async def _run(self, operation_id: str, payload: dict[str, Any]) -> None:
        """Run one operation and say how it ended. A client's complete, and the end of the socket, cancel this."""
        try:
            errors = await self._execute(operation_id, payload)
        except (WebSocketDisconnect, Stalled):
            raise
        except InvalidDocument as invalid:
            errors = format_errors(invalid.errors)
        except GraphQLError as error:
            errors = [format_error(error)]  # of a subscription's source: an unknown product, a database that is away
        except Exception as error:
            errors = [internal_error(error, "/graphql")]
        del self._operations[operation_id]  # before the last message, after which the client may use the id again
        if errors:
            await self._send({"id": operation_id, "type": "error", "payload": errors})
        else:
            await self._send({"id": operation_id, "type": "complete"})

    async def _execute(self, operation_id: str, payload: dict[str, Any]) -> list[dict[str, Any]]:
        """Execute an operation and send its results; returns the errors that kept it from having any."""
        server = self._server
        document = server.documents.get(payload["query"])
        operation_name = payload.get("operationName")
        context = Context(server.drops, self._caller)
        arguments = (document, operation_name, payload.get("variables"), context)
        if operation_type(document, operation_name) is not OperationType.SUBSCRIPTION:
            response = await server.executor.execute(*arguments)
            if "data" not in response:
                errors: list[dict[str, Any]] = response["errors"]
                return errors
            await self._send_next(operation_id, response)
            return []
        results = await server.executor.subscribe(*arguments)
        if isinstance(results, ExecutionResult):
            return format_errors(results.errors or [])
        async with aclosing(results):
            async for result in results:
                await self._send_next(operation_id, response_of(result))
        return []

    async def _send_next(self, operation_id: str, response: dict[str, Any]) -> None:
        await self._send({"id": operation_id, "type": "next", "payload": response})

    async def _send(self, message: dict[str, Any]) -> None:
        # As text: bytes would become a binary frame, and graphql-ws clients close on those.
        text = orjson.dumps(message).decode()
        await _in_time(self._websocket.send_text(text))


async def _in_time(sending: Coroutine[Any, Any, None]) -> None:
    """Wait until the socket has taken a message. Raises Stalled when it does not."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            await sending
    except TimeoutError:
        raise Stalled from None


def checked_message(message: Any) -> dict[str, Any]:
    """The message itself, if it is one that a client sends. Raises Violation.

    The rules are those of graphql-ws.
    """
    if not isinstance(message, dict):
        raise Violation(4400, f"Message must be an object, not {type(message).__name__}")
    kind, payload = message.get("type"), message.get("payload")
    if kind not in ("connection_init", "ping", "pong", "subscribe", "complete"):
        raise Violation(4400, "Message has an unknown type")
    if kind in ("subscribe", "complete") and not (isinstance(message.get("id"), str) and message["id"]):
        raise Violation(4400, f"A {kind} message must have an id, a string that is not empty")
    if kind != "subscribe":
        if not isinstance(payload, dict | None):
            raise Violation(4400, f"The payload of {kind} must be an object")
        return message
    if not isinstance(payload, dict) or not isinstance(payload.get("query"), str):
        raise Violation(4400, "The payload of subscribe must be an object with a query, a string")
    if not isinstance(payload.get("operationName"), str | None):
        raise Violation(4400, "The operationName of subscribe must be a string")
    for name in ("variables", "extensions"):
        if not isinstance(payload.get(name), dict | None):
            raise Violation(4400, f"The {name} of subscribe must be an object")
    return message
