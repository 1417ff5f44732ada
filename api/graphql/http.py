"""GraphQL over HTTP, as the specification of that name has it: POST and GET, its two media types, exact refusals; and
event streams beside it."""

import asyncio
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, cast
from urllib.parse import parse_qs

import orjson
from graphql import OperationType
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from api.graphql.broadcast import Operation
from api.graphql.departure import EXTENSION, Departure
from api.graphql.documents import Document
from api.graphql.engine import Engine
from api.graphql.errors import client_error, internal_error, rate_limited_error, unavailable_error
from api.graphql.event_stream import MEDIA_TYPE as EVENT_STREAM
from api.graphql.event_stream import EventStream, send_events, send_response
from api.graphql.execution import CannotSubscribe, format_errors
from api.graphql.graphiql import GraphiQL
from api.graphql.validation import InvalidDocument
from api.identity.errors import RateLimited
from api.identity.quota import QuotaSpent

MAX_BODY = 256 * 1024
"""Bytes of a request's body."""

MAX_PARAMETERS = 20
"""Parameters in a query string."""

MAX_ACCEPT = 1_000
"""Characters of an Accept header; browsers send 150. A longer one is refused and not disregarded: whatever it asks for,
such as the newer media type, would silently be answered otherwise. RFC 9110 wants a 4xx for a field that a server does
not wish to process (section 5.4)."""

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"

_OFFERED = (JSON, GRAPHQL_RESPONSE, EVENT_STREAM)
_CONTENT_TYPES = {media_type: f"{media_type}; charset=utf-8".encode() for media_type in (JSON, GRAPHQL_RESPONSE)}
_QUALITY = re.compile(r";[ \t]*q=(0(?:\.[0-9]*)?|1(?:\.0*)?)[ \t]*(?:;|$)")
_CHARSET = re.compile(r';[ \t]*charset[ \t]*=[ \t]*"?([^";]*)', re.IGNORECASE)

_BLANKS = " \t"
"""The white space around values (RFC 9110, section 5.6.3). What Python strips by itself is more: a no-break space, in
`application/json\\xa0`, makes another media type."""

_READ = frozenset({b"accept", b"authorization", b"content-encoding", b"content-length", b"content-type"})
"""The headers that `read_headers` reads by default: those that this module looks at."""


class Refusal(Exception):
    """A request that never becomes an operation: an HTTP status and a message that says what to send."""

    def __init__(self, status: int, message: str, allow: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if allow is None else {"allow": allow}


@dataclass(frozen=True, slots=True)
class Request:
    """The parameters of a GraphQL request, of the right types."""

    query: str
    operation_name: str | None
    variables: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A subscription to be answered with a stream of events."""

    operation: Operation
    document: Document


class GraphQLHTTP:
    """The ASGI application behind POST and GET /graphql."""

    def __init__(
        self,
        engine: Engine,
        graphiql: GraphiQL | None,
        comment_interval: float,
    ) -> None:
        """`comment_interval` in seconds, of event streams."""
        self._engine = engine
        self._graphiql = graphiql
        self._comment_interval = comment_interval

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = read_headers(scope)
        method = scope["method"]
        if method == "GET" and self._graphiql is not None and _wants_page(scope, headers):
            await self._graphiql(scope, receive, send)
            return
        client = self._engine.admission.clients.of(scope)
        departure = scope.get("extensions", {}).get(EXTENSION) or Departure()
        media_type = JSON
        more_headers: dict[str, str] = {}
        try:
            accepted = negotiate(headers.get("accept", ""))
            media_type = JSON if accepted is EVENT_STREAM else accepted
            request = await _read_request(scope, headers, receive)
            response = await self._respond(request, headers, client, departure, only_queries=method == "GET")
            if isinstance(response, Watch):
                if method == "GET":
                    await _read_body(headers, receive)  # so that what is received next is the end
                events = self._send_events(send, receive, response, client)
                del request, response  # events can last for hours, and neither is needed for them
                await events
                return
            if accepted is EVENT_STREAM:
                await send_response(send, response)
                return
            # The older media type tells request errors with status 200, as its clients expect.
            status = 200 if "data" in response or media_type is JSON else 400
            body = orjson.dumps(response)
        except Refusal as refusal:
            body = orjson.dumps({"errors": [client_error(str(refusal))]})
            status, more_headers = refusal.status, refusal.headers
        except QuotaSpent:
            body, status = orjson.dumps({"errors": [unavailable_error(self._engine.admission.no_socket)]}), 503
        except RateLimited as limit:
            body, status = orjson.dumps({"errors": [rate_limited_error(limit)]}), 429
            more_headers = {"retry-after": str(math.ceil(limit.retry_after))}
        except ClientDisconnect:
            return
        except asyncio.CancelledError:
            if departure.left:
                return
            raise
        except Exception as error:
            body, status = orjson.dumps({"errors": [internal_error(error, scope["path"])]}), 500
        await _send(send, status, media_type, body, more_headers)

    async def _send_events(self, send: Send, receive: Receive, watch: Watch, client: str) -> None:
        """Raises QuotaSpent before anything is sent."""
        broadcasts = self._engine.broadcasts
        stream = EventStream(send)
        join = partial(broadcasts.join, watch.operation, watch.document, stream, client)
        del watch
        with self._engine.admission.sockets.claimed(client, 1, stream.give_way):
            events = send_events(stream, receive, join, broadcasts.leave, self._comment_interval)
            del join
            await events

    async def _respond(
        self, request: Request, headers: Mapping[str, str], client: str, departure: Departure, *, only_queries: bool
    ) -> dict[str, Any] | Watch:
        engine = self._engine
        caller = engine.authenticator.identify(headers.get("authorization"), client)
        try:
            document, kind = await engine.prepare(
                request.query, request.operation_name, request.variables, caller, client
            )
            if kind is OperationType.SUBSCRIPTION:
                if not takes_events(headers.get("accept", "")):
                    raise Refusal(
                        400,
                        "a subscription needs a websocket: connect to this address as graphql-transport-ws; "
                        f"or server-sent events: send it with accept: {EVENT_STREAM}",
                    )
                operation = Operation.of(document, request.operation_name, request.variables, caller)
                return Watch(operation, document)
        except (InvalidDocument, CannotSubscribe) as refusal:
            return {"errors": format_errors(refusal.errors)}
        if only_queries and kind is OperationType.MUTATION:
            raise Refusal(405, "GET is for queries; send a mutation by POST", allow="POST")
        context = engine.context(caller, client, departure)
        return await engine.executor.execute(document, request.operation_name, request.variables, context)


def read_headers(scope: Scope, names: frozenset[bytes] = _READ) -> dict[str, str]:
    """Those of the request's headers that have one of `names`, in lower case as ASGI has them; the values of a repeated
    name joined by commas (RFC 9110, section 5.3). In one pass, since each look-up in Starlette's Headers is a pass of
    its own, and a stranger can send thousands of headers."""
    values: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        if name in names:
            values.setdefault(name, []).append(value)
    return {name.decode("latin-1"): b",".join(sent).decode("latin-1") for name, sent in values.items()}


def parse_post(headers: Mapping[str, str], body: bytes) -> Request:
    """Raises Refusal."""
    objection = _objection_to(headers.get("content-type", ""), headers.get("content-encoding", "identity"))
    if objection:
        raise Refusal(415, objection)
    return _request(_decode("the body", body))


@lru_cache(maxsize=256)
def _objection_to(content_type: str, content_encoding: str) -> str:
    """Why a body of this kind is not taken; nothing when it is."""
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip(_BLANKS).lower() != JSON:
        return f"send the request with content-type: {JSON}, not {media_type.strip() or 'without'}"
    charsets = {charset.strip(_BLANKS).lower() for charset in _CHARSET.findall(f";{parameters}")}
    if not charsets <= {"utf-8", "utf8"}:
        return f"send the request in UTF-8, with content-type: {JSON}"
    if content_encoding.strip(_BLANKS).lower() != "identity":
        return "send the request uncompressed, without content-encoding"
    return ""


def parse_get(query_string: bytes) -> Request:
    """Raises Refusal."""
    try:
        pairs = parse_qs(query_string.decode("ascii"), errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise Refusal(
            400, f"the query string must have at most {MAX_PARAMETERS} parameters, percent-encoded as UTF-8"
        ) from None
    parameters: dict[str, Any] = {name: values[-1] for name, values in pairs.items()}
    for name in ("variables", "extensions"):
        if name in parameters:
            parameters[name] = _decode(name, parameters[name])
    return _request(parameters)


def negotiate(accept: str) -> str:
    """The media type that a client with this Accept header is answered in: of highest quality, then named most
    exactly, then named first (RFC 9110, section 12.5.1). Raises Refusal when it takes none, and when the header has
    more than MAX_ACCEPT characters."""
    if len(accept) > MAX_ACCEPT:
        raise Refusal(431, f"the accept header is too long; {MAX_ACCEPT} characters are allowed")
    return _negotiate(accept)


@lru_cache(maxsize=256)
def _negotiate(accept: str) -> str:
    ranges = _ranges(accept)
    order = list(ranges)

    def rank(media_type: str) -> tuple[float, int, int]:
        for exactness, name in ((2, media_type), (1, f"{media_type.partition('/')[0]}/*"), (0, "*/*")):
            if name in ranges:
                return ranges[name], exactness, -order.index(name)
        return 0.0, 0, 0

    best = max(_OFFERED, key=rank)
    if rank(best)[0] == 0.0:
        raise Refusal(406, f"this is answered as {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}; accept one of them")
    return best


def takes_events(accept: str) -> bool:
    """Whether a client names the media type of event streams: who takes just anything expects an answer that ends."""
    return _ranges(accept).get(EVENT_STREAM, 0.0) > 0.0


def _ranges(accept: str) -> dict[str, float]:
    """The media types and wildcards of an Accept header in their order, and their qualities."""
    ranges: dict[str, float] = {}
    for entry in accept.split(",") if accept.strip(_BLANKS) else ["*/*"]:
        name, _, parameters = entry.partition(";")
        quality = _QUALITY.search(f";{parameters}")
        ranges.setdefault(name.strip(_BLANKS).lower(), float(quality[1]) if quality else 1.0)
    return ranges


def _wants_page(scope: Scope, headers: Mapping[str, str]) -> bool:
    return "text/html" in headers.get("accept", "") and b"query=" not in scope["query_string"]


async def _read_request(scope: Scope, headers: Mapping[str, str], receive: Receive) -> Request:
    """Raises Refusal, ClientDisconnect."""
    match scope["method"]:
        case "POST":
            return parse_post(headers, await _read_body(headers, receive))
        case "GET":
            return parse_get(scope["query_string"])
        case method:
            raise Refusal(405, f"use POST, or GET for queries, not {method}", allow="GET, POST")


async def _read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    too_large = Refusal(413, f"the body is too large; {MAX_BODY} bytes are allowed")
    if int(headers.get("content-length", 0)) > MAX_BODY:  # the server has checked that it is a number
        raise too_large
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += cast("bytes", message.get("body", b""))
        if len(body) > MAX_BODY:
            raise too_large
        if not message.get("more_body", False):
            return body


def _decode(name: str, text: bytes | str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"{name} must be JSON in UTF-8: {error}") from None


def _request(parameters: Any) -> Request:
    if isinstance(parameters, list):
        raise Refusal(400, "send one operation per request; batches are not taken")
    if not isinstance(parameters, dict):
        raise Refusal(400, 'the body must be a JSON object, such as {"query": "{ __typename }"}')
    query = parameters.get("query")
    if not isinstance(query, str) or not query:
        raise Refusal(400, "query must be a GraphQL document, as a string, such as { __typename }")
    operation_name = parameters.get("operationName")
    if not isinstance(operation_name, str | None):
        raise Refusal(400, "operationName must be a string, or null")
    variables = parameters.get("variables")
    if not isinstance(variables, dict | None):
        raise Refusal(400, "variables must be an object, or null")
    if not isinstance(parameters.get("extensions"), dict | None):
        raise Refusal(400, "extensions must be an object, or null")
    return Request(query, operation_name, variables)


async def _send(send: Send, status: int, media_type: str, body: bytes, more_headers: Mapping[str, str]) -> None:
    headers = [
        (b"content-type", _CONTENT_TYPES[media_type]),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),  # the answer to a GET is of this moment, and can be one buyer's
    ]
    headers += [(name.encode(), value.encode()) for name, value in more_headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
