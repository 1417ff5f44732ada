"""Requests: the parameters of a GraphQL request, read from HTTP as "GraphQL over HTTP" specifies."""

import re
from functools import lru_cache
from typing import Any, cast
from urllib.parse import parse_qs

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from api.graphql.engine import Request
from api.graphql.headers import Headers, text_of
from api.graphql.persisted import document_id_of

MAX_BODY = 256 * 1024
"""Bytes of a request's body."""

CONTENT_TYPE = "application/json"
"""The media type of bodies."""

MAX_PARAMETERS = 20
"""Parameters in a query string."""

BLANKS = " \t"
"""The white space around values (RFC 9110, section 5.6.3). Python's `strip` alone removes more: with a no-break space,
`application/json\\xa0` is another media type."""

_NAMES_OF_DOCUMENTS = (b"query=", b"extensions=", b"documentId=", b"doc_id=")

_CHARSET = re.compile(r';[ \t]*charset[ \t]*=[ \t]*"?([^";]*)', re.IGNORECASE)


class Refusal(Exception):
    """A request that never becomes an operation: an HTTP status and a message that says what to send."""

    def __init__(self, status: int, message: str, allow: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = [] if allow is None else [(b"allow", allow.encode())]


async def read_request(scope: Scope, headers: Headers, receive: Receive) -> Request:
    """Read the request from its body, or from its query string. Raises Refusal, ClientDisconnect."""
    match scope["method"]:
        case "POST":
            return parse_post(headers, await read_body(headers, receive))
        case "GET":
            return parse_get(scope["query_string"])
        case method:
            raise Refusal(405, f"use POST, or GET for queries, not {method}", allow="GET, POST")


async def read_body(headers: Headers, receive: Receive, most: int = MAX_BODY) -> bytes:
    """Receive the whole body, of at most `most` bytes. Raises Refusal, ClientDisconnect."""
    if int(text_of(headers, b"content-length", "0")) > most:  # the server has checked that it is a number
        raise _too_large(most)
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += cast("bytes", message.get("body", b""))
        if len(body) > most:
            raise _too_large(most)
        if not message.get("more_body", False):
            return body


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"the body is too large; {most} bytes are allowed")


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
    query = parameters.get("query") or None
    document_id = document_id_of(parameters)
    if not isinstance(query, str | None) or (query is None and document_id is None):
        raise Refusal(400, "query must be a GraphQL document, as a string, such as { __typename }")
    operation_name = parameters.get("operationName")
    if not isinstance(operation_name, str | None):
        raise Refusal(400, "operationName must be a string, or null")
    variables = parameters.get("variables")
    if not isinstance(variables, dict | None):
        raise Refusal(400, "variables must be an object, or null")
    extensions = parameters.get("extensions")
    if not isinstance(extensions, dict | None):
        raise Refusal(400, "extensions must be an object, or null")
    operation_id = (extensions or {}).get("operationId")
    if not isinstance(operation_id, str | None):
        raise Refusal(400, "extensions.operationId must be a string")
    return Request(query, operation_name, variables, document_id, operation_id)


def names_document(query_string: bytes) -> bool:
    """Whether a query string has a document, or the id of one."""
    return any(name in query_string for name in _NAMES_OF_DOCUMENTS)


def parse_post(headers: Headers, body: bytes) -> Request:
    """The request in the body of a POST. Raises Refusal."""
    objection = _objection_to(text_of(headers, b"content-type"), text_of(headers, b"content-encoding", "identity"))
    if objection:
        raise Refusal(415, objection)
    return _request(_decode("the body", body))


@lru_cache(maxsize=256)
def _objection_to(content_type: str, content_encoding: str) -> str:
    """Why a body of this kind is refused; empty when it is accepted."""
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip(BLANKS).lower() != CONTENT_TYPE:
        return f"send the request with content-type: {CONTENT_TYPE}, not {media_type.strip() or 'without'}"
    charsets = {charset.strip(BLANKS).lower() for charset in _CHARSET.findall(f";{parameters}")}
    if not charsets <= {"utf-8", "utf8"}:
        return f"send the request in UTF-8, with content-type: {CONTENT_TYPE}"
    if content_encoding.strip(BLANKS).lower() != "identity":
        return "send the request uncompressed, without content-encoding"
    return ""


def parse_get(query_string: bytes) -> Request:
    """The request in the query string of a GET. Raises Refusal."""
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
