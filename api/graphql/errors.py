"""Errors as clients get them: a message and a code of the contract, and no detail of the server."""

import logging
import random
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from graphql import FieldNode, GraphQLError

from api.database.errors import Conflict, OutcomeUnknown, Unavailable
from api.database.regions import UnknownRegion
from api.drops.errors import AlreadyConfirmed, IdempotencyKeyReused, InvalidInput, NotFound, StaleRevision
from api.drops.event_log import FellBehind
from api.drops.product_feed import ProductsMissed
from api.identity.claims import IssuerAway
from api.identity.errors import BuyerMissing, Forbidden, RateLimited, Unauthenticated
from api.tracing.request_trace import RequestTrace

if TYPE_CHECKING:
    from api.tracing.span import Span

logger = logging.getLogger("dropzero.graphql")


class ErrorCode(StrEnum):
    """`errors[].extensions.code`. docs/frontend.md has what a client does about each."""

    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    NOT_FOUND = "NOT_FOUND"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    ALREADY_CONFIRMED = "ALREADY_CONFIRMED"
    STALE_REVISION = "STALE_REVISION"
    TOO_MANY_OPERATIONS = "TOO_MANY_OPERATIONS"
    RATE_LIMITED = "RATE_LIMITED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    INTERNAL = "INTERNAL"


# Errors whose own message is written for the client.
_CLIENT_ERRORS: Mapping[type, ErrorCode] = {
    InvalidInput: ErrorCode.BAD_USER_INPUT,
    BuyerMissing: ErrorCode.BAD_USER_INPUT,
    UnknownRegion: ErrorCode.BAD_USER_INPUT,
    NotFound: ErrorCode.NOT_FOUND,
    Unauthenticated: ErrorCode.UNAUTHENTICATED,
    Forbidden: ErrorCode.FORBIDDEN,
    IdempotencyKeyReused: ErrorCode.IDEMPOTENCY_KEY_REUSED,
    AlreadyConfirmed: ErrorCode.ALREADY_CONFIRMED,
    StaleRevision: ErrorCode.STALE_REVISION,
}

# Errors of the database. Their own messages name hosts and statements, so clients get these messages instead.
_DATABASE_ERRORS: Mapping[type, str] = {
    Unavailable: "The database cannot be reached right now, and nothing was changed by this request. "
    "Try again in a moment.",
    Conflict: "Others kept changing the same row, and nothing was changed by this request. Try again in a moment.",
    OutcomeUnknown: "The connection to the database was lost at the moment of commit, so it is not known yet whether "
    "this was done. Check before sending it again; a purchase under an idempotencyKey can be sent again as it is.",
}


_FIELDS: Mapping[type, str] = {BuyerMissing: "userRef", UnknownRegion: "region"}
"""The field that other errors of bad input are about."""

INPUT = "input"
"""The argument of every mutation that takes more than an id: an object of the values."""

_INVALID_VARIABLE = re.compile(r"Variable '\$(\w+)' has invalid value(?: at ((?:\.\w+|\[\d+\])+))?: ")
"""The beginning of graphql-core's message about a variable. Its error has the path nowhere else."""

# The message for a field below the root, such as the product of an order that has just been bought.
_PART_UNREAD = (
    "The database cannot be reached right now, so this part of the answer could not be read. If this request is "
    "a mutation, its change was made: check before sending it again."
)

RETRY_AFTER_MS = 1_000
"""Milliseconds until a request is sent again that failed since something is away, and up to half of it more. It is a
guess, as long as the first pause of clients that reconnect."""

MAX_MESSAGE = 500
"""Characters of a message. The messages of syntax and validation errors repeat what was sent, however long it was."""


def format_error(
    error: GraphQLError, trace: RequestTrace | None = None, code: ErrorCode = ErrorCode.BAD_USER_INPUT
) -> dict[str, Any]:
    """One entry of `errors`. `code` is for errors from before the execution. A defect of the server is logged with its
    traceback; the client gets a reference only."""
    return {**error.formatted, **_entry_of(error, trace or RequestTrace(), code)}


def mark_span(span: "Span", entries: list[dict[str, Any]]) -> None:
    """Put the code of the first error into a span. The span has failed if the fault is the server's."""
    code = entries[0]["extensions"]["code"]
    if code in (ErrorCode.INTERNAL, ErrorCode.SERVICE_UNAVAILABLE):
        span.fail(code)
    else:
        span.set("error.type", code)


def client_error(message: str) -> dict[str, Any]:
    """One entry of `errors` for a request that cannot be executed."""
    return _entry(message, ErrorCode.BAD_USER_INPUT)


def unavailable_error(message: str) -> dict[str, Any]:
    """One entry of `errors` for a request that cannot be executed at this moment, and has changed nothing. It says when
    to send the request again."""
    entry = _entry(message, ErrorCode.SERVICE_UNAVAILABLE)
    entry["extensions"]["retryAfterMs"] = round(RETRY_AFTER_MS * random.uniform(1, 1.5))  # noqa: S311
    return entry


def too_many_operations_error(message: str) -> dict[str, Any]:
    """One entry of `errors` for an operation beside as many others as its connection may have."""
    return _entry(message, ErrorCode.TOO_MANY_OPERATIONS)


def rate_limited_error(error: RateLimited) -> dict[str, Any]:
    """One entry of `errors` for a client that has used its share of the server."""
    entry = _entry(str(error), ErrorCode.RATE_LIMITED)
    entry["extensions"]["retryAfterMs"] = round(error.retry_after * 1000)
    return entry


def fell_behind_error() -> dict[str, Any]:
    """One entry of `errors` for a subscriber that has too many events waiting."""
    message = (
        "Events came faster than you read them, and this subscription has ended. Read on with orderEvents, after the "
        "last cursor that you got, and subscribe again."
    )
    return _entry(message, ErrorCode.SERVICE_UNAVAILABLE)


def internal_error(error: Exception, place: object, trace: RequestTrace | None = None) -> dict[str, Any]:
    """One entry of `errors` for a defect of the server: the traceback is logged, and the client gets a reference, which
    is the request's id."""
    trace = trace or RequestTrace()
    reference = trace.request_id()
    logger.error(
        "defect, sent to the client as reference %s, at %s; please report it with this traceback",
        reference,
        place,
        exc_info=error,
        extra=trace.log_fields(),
    )
    entry = _entry(f"Internal error; please report the reference {reference}.", ErrorCode.INTERNAL)
    entry["extensions"]["requestId"] = reference
    return entry


def _entry_of(error: GraphQLError, trace: RequestTrace, code: ErrorCode) -> dict[str, Any]:
    cause = error.original_error
    if error.path is None or cause is None or isinstance(cause, GraphQLError):
        return _entry(error.message, code, _path_in_variables(error.message))  # syntax, validation, variables
    if isinstance(cause, RateLimited):
        return rate_limited_error(cause)
    if isinstance(cause, FellBehind):
        return fell_behind_error()
    if isinstance(cause, IssuerAway | ProductsMissed):
        return unavailable_error(str(cause))
    # A subclass is answered as its base: WakingUp, of a cluster that is waking up, as Unavailable.
    for kind in type(cause).__mro__:
        if kind in _CLIENT_ERRORS:
            return _entry(str(cause), _CLIENT_ERRORS[kind], _path_in_arguments(error, _field_of(cause)))
        if kind in _DATABASE_ERRORS:
            logger.warning(
                "%s answered SERVICE_UNAVAILABLE: %s: %s; its client can try again. If this goes on, look at /readyz "
                "and at the database",
                error.path[0],
                type(cause).__name__,
                cause,
                extra=trace.log_fields(),
            )
            if len(error.path) > 1:
                return _entry(_PART_UNREAD, ErrorCode.SERVICE_UNAVAILABLE)
            if kind is OutcomeUnknown:
                return _entry(_DATABASE_ERRORS[kind], ErrorCode.SERVICE_UNAVAILABLE)
            return unavailable_error(_DATABASE_ERRORS[kind])
    return internal_error(cause, error.path, trace)


def _path_in_variables(message: str) -> str | None:
    """The path of the value that graphql-core's message is about, such as `input.quantity` or `ids.2`, from the
    variable's name on; None for any other message."""
    found = _INVALID_VARIABLE.match(message)
    if found is None:
        return None
    variable, path = found.groups(default="")
    return variable + path.replace("[", ".").replace("]", "")


def _field_of(cause: BaseException) -> str | None:
    return cause.field if isinstance(cause, InvalidInput) else _FIELDS.get(type(cause))


def _path_in_arguments(error: GraphQLError, field: str | None) -> str | None:
    """The path of a value in the arguments of the error's field. It is in INPUT, unless it is an argument itself."""
    nodes = [node for node in error.nodes or () if isinstance(node, FieldNode)]
    if field is None or not nodes:
        return field
    arguments = {argument.name.value for argument in nodes[0].arguments or ()}
    return f"{INPUT}.{field}" if INPUT in arguments and field not in arguments else field


def _entry(message: str, code: ErrorCode, field: str | None = None) -> dict[str, Any]:
    short = message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}…"
    extensions: dict[str, Any] = {"code": code}
    if field is not None:
        extensions["field"] = field
    return {"message": short, "extensions": extensions}
