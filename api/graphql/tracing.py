"""The spans of GraphQL: one for a request over HTTP or an operation over a websocket, and one within it for the
execution."""

from collections.abc import Coroutine
from time import time_ns
from typing import TYPE_CHECKING, Any

from starlette.types import Message, Scope, Send

from api.graphql.departure import Departure
from api.graphql.engine import Engine, Run
from api.graphql.headers import Headers, text_of
from api.graphql.response import Response
from api.tracing.request_trace import RequestTrace

if TYPE_CHECKING:
    from api.tracing.span import Span
    from api.tracing.tracing import Tracing

MAX_NAME = 100
"""Characters of an operation's name in a span."""

WORTH_A_SPAN = 1_000_000
"""Nanoseconds that a request has waited for its turn at least, before the wait has a span."""

PARENT, STATE = b"traceparent", b"tracestate"
"""The headers of W3C Trace Context. Over a websocket, they can be entries of an operation's `extensions` instead."""


def begin_request(tracing: "Tracing", scope: Scope, headers: Headers, departure: Departure) -> "Span | None":
    """Begin the span of a request at the moment when its head arrived. Returns None if it is not traced."""
    sent = headers.get(PARENT)
    head = tracing.head() if sent is None else tracing.head(text_of(headers, PARENT), text_of(headers, STATE))
    if head is None:
        return None
    attributes = {
        "http.request.method": scope["method"],
        "http.route": scope["path"],
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
    }
    span = tracing.begin(head, f"{scope['method']} {scope['path']}", attributes, departure.arrived)
    if time_ns() - departure.arrived >= WORTH_A_SPAN:
        span.child("wait for turn", began=departure.arrived).end()
    return span


def begin_operation(
    tracing: "Tracing | None", extensions: dict[str, Any] | None, handshake: tuple[str, str], departure: Departure
) -> RequestTrace:
    """Return the trace of an operation over a websocket, and begin its span if it is traced. `handshake`: the PARENT
    and STATE of the socket, for an operation whose `extensions` have none."""
    trace = RequestTrace()
    if tracing is None:
        return trace
    parent, state = ((extensions or {}).get(name.decode()) for name in (PARENT, STATE))
    if not isinstance(parent, str):
        parent, state = handshake
    head = tracing.head(parent, state if isinstance(state, str) else "")
    if head is not None:
        attributes = {"network.protocol.name": "websocket", "url.path": "/graphql"}
        trace.span = tracing.begin(head, "WEBSOCKET /graphql", attributes, departure.arrived)
    return trace


async def ended_with(span: "Span", answering: Coroutine[Any, Any, None]) -> None:
    """Await what a span is of, and end the span."""
    try:
        await answering
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()


def noting_status(send: Send, span: "Span") -> Send:
    """Return `send`, which also puts the status of an answer into its span."""

    async def send_and_note(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            span.set("http.response.status_code", status)
            if status >= 500:
                span.fail(str(status))
        await send(message)

    return send_and_note


def executed(engine: Engine, run: Run, departure: Departure, trace: RequestTrace) -> Coroutine[Any, Any, Response]:
    """Execute an operation, in a span of its own if it is traced; see Engine.run."""
    if trace.span is None:
        return engine.run(run, departure, trace)
    return _execute_traced(engine, run, departure, trace, trace.span)


async def _execute_traced(
    engine: Engine, run: Run, departure: Departure, trace: RequestTrace, outer: "Span"
) -> Response:
    kind = "mutation" if run.mutation else "query"
    attributes = {"graphql.operation.type": kind}
    operation = run.document.operations.get(run.request.operation_name)
    if operation is not None and operation.compiled.name is not None:
        attributes["graphql.operation.name"] = operation.compiled.name[:MAX_NAME]
    trace.span = span = outer.child(kind, attributes)
    try:
        return await engine.run(run, departure, trace)
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()
        trace.span = outer
