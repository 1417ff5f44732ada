"""A span that is recorded. Loaded only when traces are on; where there is no span, other modules have None."""

from collections.abc import Mapping
from typing import TypeAlias

from opentelemetry.context import Context
from opentelemetry.trace import Span as SdkSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, format_span_id, format_trace_id
from opentelemetry.trace.propagation import set_span_in_context

Value: TypeAlias = str | int | float | bool


class Span:
    """One span of a trace that is recorded.

    A trace never has what a person typed: no variables, no `userRef`, no token, no message of an error. The name of an
    error's class says what failed, and the log has the rest.
    """

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer, span: SdkSpan) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def ids(self) -> tuple[str, str]:
        """The trace's id and the span's, in hexadecimal digits."""
        context = self._span.get_span_context()
        return format_trace_id(context.trace_id), format_span_id(context.span_id)

    def child(
        self,
        name: str,
        attributes: Mapping[str, Value] | None = None,
        *,
        calls: bool = False,
        began: int | None = None,
    ) -> "Span":
        """Begin a span within this one. `calls`: it waits for another server. `began` in nanoseconds since 1970; now by
        default."""
        kind = SpanKind.CLIENT if calls else SpanKind.INTERNAL
        context = set_span_in_context(self._span, Context())
        return Span(self._tracer, self._tracer.start_span(name, context, kind, attributes, start_time=began))

    def link(self, other: "Span") -> None:
        """Refer to a span of another trace, or elsewhere in this trace."""
        self._span.add_link(other._span.get_span_context())

    def set(self, name: str, value: Value) -> None:
        self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        """Mark the span as failed. `kind` is the class of an error, or a code."""
        self._span.set_attribute("error.type", kind)
        self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()
