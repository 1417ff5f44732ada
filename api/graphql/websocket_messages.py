"""The messages of graphql-transport-ws that a client sends, checked by the rules of graphql-ws; and the close codes."""

from typing import Any

from api.graphql.engine import Request
from api.graphql.persisted import document_id_of

MAX_ID = 200
"""Characters of an operation's id, which is kept as long as the operation, and comes back with each of its messages.
Clients use UUIDs, or count."""

SERVICE_RESTART = 1012
"""Clients of graphql-ws reconnect after it, as after 1013."""

TRY_AGAIN_LATER = 1013
FORBIDDEN = 4403
"""Clients of graphql-ws reconnect after it, with a new token if their `connectionParams` is a function, and send the
operations again."""

WITHOUT_FAULT = (SERVICE_RESTART, TRY_AGAIN_LATER, FORBIDDEN)
"""Close codes for reasons that are not the client's: its operations are answered before the close. After a close,
clients of graphql-ws send each unanswered operation again, a purchase too."""


class Closing(Exception):
    """Why the server closes a socket: the code and the reason of the close frame, 123 bytes at most."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def checked_message(message: Any) -> dict[str, Any]:
    """The message itself, if a client may send it. Raises Closing."""
    if not isinstance(message, dict):
        raise Closing(4400, f"Message must be an object, not {type(message).__name__}")
    kind, payload = message.get("type"), message.get("payload")
    if kind not in ("connection_init", "ping", "pong", "subscribe", "complete"):
        raise Closing(4400, "Message has an unknown type")
    if kind in ("subscribe", "complete") and not (isinstance(message.get("id"), str) and message["id"]):
        raise Closing(4400, f"A {kind} message must have an id, a string that is not empty")
    if kind == "subscribe" and len(message["id"]) > MAX_ID:
        raise Closing(4400, f"The id of subscribe must have at most {MAX_ID} characters")
    if kind != "subscribe":
        if not isinstance(payload, dict | None):
            raise Closing(4400, f"The payload of {kind} must be an object")
        return message
    if not isinstance(payload, dict) or not _names_document(payload):
        raise Closing(4400, "The payload of subscribe must be an object with a query, a string")
    if not isinstance(payload.get("operationName"), str | None):
        raise Closing(4400, "The operationName of subscribe must be a string")
    for name in ("variables", "extensions"):
        if not isinstance(payload.get(name), dict | None):
            raise Closing(4400, f"The {name} of subscribe must be an object")
    return message


def request_of(payload: dict[str, Any]) -> Request:
    """The request in the payload of a checked message."""
    document_id = document_id_of(payload)
    query = payload.get("query") or ("" if document_id is None else None)
    return Request(query, payload.get("operationName"), payload.get("variables"), document_id)


def _names_document(payload: dict[str, Any]) -> bool:
    """Whether there is a text, or an id in its place."""
    query = payload.get("query")
    return isinstance(query, str) or (query is None and document_id_of(payload) is not None)


def token_ended() -> Closing:
    """Why the server closes a socket whose token is not valid any more."""
    return Closing(FORBIDDEN, "The token has expired or was withdrawn; connect again with a new one")
