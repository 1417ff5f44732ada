"""GraphQL over websockets: Strawberry's graphql-transport-ws, held to the protocol, running our documents."""

import re
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import orjson
import strawberry
from graphql import ExecutionResult, GraphQLFormattedError, OperationType, located_error
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.http.exceptions import WebSocketDisconnected
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler, Operation
from strawberry.subscriptions.protocols.graphql_transport_ws.types import Message, NextMessagePayload
from strawberry.types.unset import UNSET, UnsetType

from api.drops.drops import Drops
from api.graphql.caller import Authenticator, Caller
from api.graphql.context import make_context
from api.graphql.documents import Documents, InvalidDocument, operation_type
from api.graphql.errors import format_error
from api.graphql.execution import Executor, format_errors, response_of

INIT_TIMEOUT = timedelta(seconds=10)
"""A socket that has not sent connection_init by then is closed with 4408."""

MAX_OPERATIONS = 100
"""Operations of one socket at a time."""

_CLIENT_MESSAGES = frozenset({"connection_init", "ping", "pong", "subscribe", "complete"})


@dataclass(slots=True)
class Session:
    """One socket's state: the payload of its connection_init, and the caller that it stands for."""

    caller: Caller
    connection_params: dict[str, object] | None = None


class GraphQLSocket(GraphQL[Session, None]):
    """The ASGI application behind the websocket at /graphql."""

    def __init__(
        self,
        schema: strawberry.Schema,
        drops: Drops,
        executor: Executor,
        documents: Documents,
        authenticator: Authenticator,
        allowed_origins: re.Pattern[str],
    ) -> None:
        """`allowed_origins` matches the origins of other sites whose pages may connect."""
        super().__init__(
            schema,
            subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
            connection_init_wait_timeout=INIT_TIMEOUT,
            max_subscriptions_per_connection=MAX_OPERATIONS,
        )
        self.graphql_transport_ws_handler_class = TransportHandler
        self.drops = drops
        self.executor = executor
        self.documents = documents
        self._authenticator = authenticator
        self._allowed_origins = allowed_origins

    def is_websocket_origin_allowed(self, request: WebSocket, origin: str) -> bool:
        return self._allowed_origins.fullmatch(origin) is not None

    async def get_context(self, request: object, response: object) -> Session:
        return Session(self._authenticator.identify(cast("WebSocket", request).headers.get("authorization")))

    async def on_ws_connect(self, context: Session) -> UnsetType:
        """Take the operator's token from connection_init; browsers cannot set headers on a websocket."""
        params = {name.lower(): value for name, value in (context.connection_params or {}).items()}
        authorization = params.get("authorization")
        if isinstance(authorization, str):
            context.caller = self._authenticator.identify(authorization)
        return cast("UnsetType", UNSET)

    def decode_json(self, data: str | bytes) -> object:
        return orjson.loads(data)

    def encode_json(self, data: object) -> str:
        # As text: bytes would become a binary frame, and graphql-ws clients close on those.
        return orjson.dumps(data).decode()


class TransportHandler(BaseGraphQLTransportWSHandler[Session, None]):
    """One socket. Unlike the stock handler, it closes with 4400 on every malformed message, and an operation
    that cannot be parsed ends with its own error and not with the socket."""

    view: GraphQLSocket

    async def handle_message(self, message: Message) -> None:
        problem = malformation(message)
        if problem is not None:
            await self.handle_invalid_message(problem)
        elif message["type"] == "ping" and message.get("payload") is not None:
            await self.send_message({"type": "pong", "payload": message["payload"]})
        else:
            # The protocol allows a null payload, where Strawberry expects none at all.
            present = {name: value for name, value in message.items() if value is not None}
            await super().handle_message(cast("Message", present))

    async def run_operation(self, operation: Operation[Session, None]) -> None:
        try:
            await self._run(operation)
        except WebSocketDisconnected:
            pass  # nobody is left to tell
        except InvalidDocument as invalid:
            await self._send_errors(operation, format_errors(invalid.errors))
        except Exception as error:
            # A subscription's source stopped, at its start as a rule: an unknown product, a database that is away.
            await self._send_errors(operation, [format_error(located_error(error, path=["subscription"]))])

    async def _run(self, operation: Operation[Session, None]) -> None:
        document = self.view.documents.get(operation.query)
        arguments = (
            document,
            operation.operation_name,
            operation.variables,
            make_context(self.view.drops, self.context.caller),
        )
        if operation_type(document, operation.operation_name) is OperationType.SUBSCRIPTION:
            results = await self.view.executor.subscribe(*arguments)
            if isinstance(results, ExecutionResult):
                await self._send_errors(operation, format_errors(results.errors or []))
                return
            async with aclosing(results):
                async for result in results:
                    await self._send_next(operation, response_of(result))
        else:
            response = await self.view.executor.execute(*arguments)
            if "data" not in response:
                await self._send_errors(operation, response["errors"])
                return
            await self._send_next(operation, response)
        await operation.send_operation_message({"id": operation.id, "type": "complete"})

    async def _send_next(self, operation: Operation[Session, None], response: dict[str, Any]) -> None:
        payload = cast("NextMessagePayload", response)
        await operation.send_operation_message({"id": operation.id, "type": "next", "payload": payload})

    async def _send_errors(self, operation: Operation[Session, None], errors: list[dict[str, Any]]) -> None:
        payload = cast("list[GraphQLFormattedError]", errors)
        with suppress(WebSocketDisconnected):
            await operation.send_operation_message({"id": operation.id, "type": "error", "payload": payload})


def malformation(message: object) -> str | None:
    """What is wrong with a message from a client, as the reason of its close frame; None when nothing is.

    The rules are those of the protocol's reference implementation, graphql-ws.
    """
    if not isinstance(message, dict):
        return f"Message must be an object, not {type(message).__name__}"
    kind = message.get("type")
    if kind not in _CLIENT_MESSAGES:
        return "Message has an unknown type"
    payload = message.get("payload")
    if kind in ("subscribe", "complete") and not (isinstance(message.get("id"), str) and message["id"]):
        return f"A {kind} message must have an id, a string that is not empty"
    if kind != "subscribe":
        return None if isinstance(payload, dict | None) else f"The payload of {kind} must be an object"
    if not isinstance(payload, dict):
        return "The payload of subscribe must be an object"
    if not isinstance(payload.get("query"), str):
        return "The payload of subscribe must have a query, a string"
    if not isinstance(payload.get("operationName"), str | None):
        return "The operationName of subscribe must be a string"
    if not isinstance(payload.get("variables"), dict | None):
        return "The variables of subscribe must be an object"
    if not isinstance(payload.get("extensions"), dict | None):
        return "The extensions of subscribe must be an object"
    return None
