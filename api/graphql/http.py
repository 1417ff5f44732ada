"""GraphQL over HTTP: POST and GET, its two media types, exact refusals; and event streams beside them.

The rules are those of the specification "GraphQL over HTTP".
"""

import asyncio
import math
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.graphql.departure import EXTENSION, Departure
from api.graphql.engine import Engine, Refused, Request, Run, Watch
from api.graphql.errors import client_error, internal_error, rate_limited_error, unavailable_error
from api.graphql.event_session import DISTINCT, EventSessions, token_of
from api.graphql.event_stream import MEDIA_TYPE as EVENT_STREAM
from api.graphql.event_stream import EventStream, send_events, send_response
from api.graphql.graphiql import GraphiQL
from api.graphql.headers import Headers, headers_of, text_of
from api.graphql.negotiation import GRAPHQL_RESPONSE, JSON, negotiate, takes_events, takes_gzip
from api.graphql.requests import Refusal, names_document, read_body, read_request
from api.graphql.response import Response
from api.graphql.tracing import begin_request, ended_with, executed, noting_status
from api.identity.errors import RateLimited
from api.identity.quota import QuotaSpent
from api.tracing.request_trace import HEADER, RequestTrace

_CONTENT_TYPES = {
    media_type: (b"content-type", f"{media_type}; charset=utf-8".encode()) for media_type in (JSON, GRAPHQL_RESPONSE)
}
_NO_STORE = (b"cache-control", b"no-store")
"""The answer to a GET is of this moment, and can be one buyer's."""
_GZIP = (b"content-encoding", b"gzip")
_VARY = (b"vary", b"accept-encoding")


class _Answer(NamedTuple):
    """An HTTP response; `body` is one GraphQL response, encoded."""

    status: int
    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


class GraphQLHTTP:
    """The ASGI application behind POST and GET /graphql."""

    def __init__(
        self, engine: Engine, graphiql: GraphiQL | None, sessions: EventSessions | None, comment_interval: float
    ) -> None:
        """`sessions`: those of many operations on one event stream; None where another process could get their
        requests. `comment_interval` in seconds, of event streams."""
        self._engine = engine
        self._graphiql = graphiql
        self._sessions = sessions
        self._comment_interval = comment_interval

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        departure = scope.get("extensions", {}).get(EXTENSION) or Departure()
        headers = headers_of(scope)
        trace = RequestTrace(headers.get(HEADER))
        tracing = self._engine.tracing
        if tracing is not None:
            trace.span = span = begin_request(tracing, scope, headers, departure)
            if span is not None:
                send = noting_status(send, span)
                return ended_with(span, self._handle(scope, receive, send, headers, departure, trace))
        return self._handle(scope, receive, send, headers, departure, trace)

    async def _handle(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, departure: Departure, trace: RequestTrace
    ) -> None:
        """Answer a request."""
        media_type = JSON
        try:
            accept = text_of(headers, b"accept")
            if self._graphiql is not None and _wants_page(scope, accept):
                await self._graphiql(scope, receive, send)
                return
            client = self._engine.admission.clients.of(scope)
            accepted = negotiate(accept)
            media_type = JSON if accepted is EVENT_STREAM else accepted
            token = token_of(scope, headers)
            if token is not None or scope["method"] == "PUT":
                await self._answer_session(scope, receive, send, headers, token)
                return
            request = await read_request(scope, headers, receive)
            prepared = await self._prepare(request, scope["method"], headers, client)
            if isinstance(prepared, Watch):
                if scope["method"] == "GET":
                    await read_body(headers, receive)  # so that the next message received is the disconnect
                events = self._send_events(send, receive, prepared)
                del request, prepared  # the stream can last for hours, and keeps no document of its own
                await events
                return
            response = await executed(self._engine, prepared, departure, trace)
            if accepted is EVENT_STREAM:
                await send_response(send, response.body)
                return
            answer = _Answer(200, response.body) if prepared.mutation else _answer_of(response, headers)
        except Refused as refused:
            body = orjson.dumps({"errors": refused.errors})
            if accepted is EVENT_STREAM:
                await send_response(send, body)
                return
            # The older media type reports request errors with status 200, as its clients expect.
            answer = _Answer(200 if media_type is JSON else 400, body)
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if departure.left:
                return
            raise
        except Exception as error:
            answer = self._answer_to(error, scope["path"], trace)
        await _send(send, answer, media_type, trace.known_id)

    async def _answer_session(
        self, scope: Scope, receive: Receive, send: Send, headers: Headers, token: str | None
    ) -> None:
        """Answer a request of an event stream of many operations. Raises Refusal, QuotaSpent, RateLimited,
        ClientDisconnect."""
        if self._sessions is None:
            raise Refusal(405, DISTINCT, allow="GET, POST")
        address = self._engine.admission.clients.of(scope)
        authorization = text_of(headers, b"authorization")
        if scope["method"] == "PUT":
            reserved = await self._sessions.reserve(authorization, address)
            await _send_plain(send, 201, reserved.encode())
            return
        session = self._sessions.find(token)
        match scope["method"]:
            case "GET":
                await read_body(headers, receive)  # so that the next message received is the disconnect
                await session.serve(send, receive, self._comment_interval)
            case "DELETE":
                session.end(scope["query_string"])
                await _send_plain(send, 200, b"")
            case _:
                await session.start(await read_request(scope, headers, receive), authorization, address)
                await _send_plain(send, 202, b"")

    async def _prepare(self, request: Request, method: str, headers: Headers, client: str) -> Run | Watch:
        """The Run of a query or a mutation; the Watch of a subscription, which a stream joins. Raises Refusal, Refused,
        RateLimited."""
        engine = self._engine
        caller = await engine.authenticator.identify(text_of(headers, b"authorization"), client)
        prepared = await engine.prepare(request, caller, client)
        if isinstance(prepared, Watch):
            if takes_events(text_of(headers, b"accept")):
                return prepared
            raise Refusal(
                400,
                "a subscription needs a websocket: connect to this address as graphql-transport-ws; "
                f"or server-sent events: send it with accept: {EVENT_STREAM}",
            )
        if prepared.mutation and method == "GET":
            raise Refusal(405, "GET is for queries; send a mutation by POST", allow="POST")
        return prepared

    async def _send_events(self, send: Send, receive: Receive, watch: Watch) -> None:
        """Answer with the events of a subscription. Raises QuotaSpent before anything is sent."""
        broadcasts = self._engine.broadcasts
        stream, client = EventStream(send), watch.client
        join = partial(broadcasts.join, watch.topic, watch.document, stream, client)
        del watch
        with self._engine.admission.sockets.claimed(client, 1, stream.give_way):
            events = send_events(stream, receive, join, broadcasts.leave, self._comment_interval)
            del join
            await events

    def _answer_to(self, error: Exception, path: str, trace: RequestTrace) -> _Answer:
        match error:
            case Refusal():
                return _Answer(error.status, _errors(client_error(str(error))), error.headers)
            case QuotaSpent():
                return _Answer(503, _errors(unavailable_error(self._engine.admission.no_socket)))
            case RateLimited():
                retry_after = (b"retry-after", b"%d" % math.ceil(error.retry_after))
                return _Answer(error.status, _errors(rate_limited_error(error)), [retry_after])
            case _:
                return _Answer(500, _errors(internal_error(error, path, trace)))


def _answer_of(response: Response, headers: Headers) -> _Answer:
    """The answer to a query, compressed if the client takes it. The answer to a mutation is not: it can have a guest's
    token beside text of the request, and the length of a compressed answer shows how alike the two are."""
    if not response.compressible:
        return _Answer(200, response.body)
    if takes_gzip(text_of(headers, b"accept-encoding")):
        return _Answer(200, response.compressed, [_GZIP, _VARY])
    return _Answer(200, response.body, [_VARY])


def _errors(error: dict[str, Any]) -> bytes:
    return orjson.dumps({"errors": [error]})


def _wants_page(scope: Scope, accept: str) -> bool:
    """Whether a browser asks for the page of the IDE, and not for the answer to a query."""
    if scope["method"] != "GET" or "text/html" not in accept:
        return False
    return not names_document(scope["query_string"])


async def _send_plain(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body)), _NO_STORE]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _send(send: Send, answer: _Answer, media_type: str, request_id: str | None) -> None:
    length = (b"content-length", b"%d" % len(answer.body))
    headers = [_CONTENT_TYPES[media_type], length, _NO_STORE, *answer.headers]
    if request_id is not None:
        headers.append((HEADER, request_id.encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
