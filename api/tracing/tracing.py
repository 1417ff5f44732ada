"""The tracing of one process: decides which requests are traced, and sends their spans to a collector. Loaded only when
traces are on.

The SDK sends spans from a thread of its own, from a bounded queue. The decision is made here: the SDK's takes 8 us for
a request that is not traced, where a purchase takes 200. Nothing of it is global: two processes, or two applications in
one process, have nothing in common.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext, SpanKind, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from api.tracing.export import ReportedExporter, SdkLog
from api.tracing.span import Span, Value
from api.tracing.variables import Sampling

CLOSE_TIMEOUT = 3.0
"""Seconds that a process which stops waits until its last spans are sent. Then they are dropped."""

MAX_CLIENT_TRACES = 100
"""Requests in a second that are traced because their clients say so. A client could have every one of its requests
traced otherwise, whatever share the operator has set."""

_NO_PARENT = Context()
_LOW = 2**64 - 1
"""The bits of a trace's id that decide whether it is in the share, as in every SDK of OpenTelemetry: all servers of a
trace decide alike."""

_W3C = TraceContextTextMapPropagator()


class Head(NamedTuple):
    """A request that is traced: the id of its trace, and the span of its client, if there is one."""

    trace_id: int
    parent: Context


class _ChosenIds(RandomIdGenerator):
    """Makes the next trace's id the one that the sampler has decided on."""

    chosen = 0

    def generate_trace_id(self) -> int:
        return self.chosen


class Tracing:
    """Begins the traces of a process, from `open` to `close`."""

    def __init__(self, sampling: Sampling, now: Callable[[], float] = time.monotonic) -> None:
        self._bound = round(sampling.share * (_LOW + 1))
        self._parent_based = sampling.parent_based
        self._now = now
        self._ids = _ChosenIds()
        self._second, self._client_traces = 0, 0

    def open(self) -> None:
        """Start the thread that sends spans. It connects only once there are some."""
        self._log = SdkLog()
        self._log.open()
        self._exporter = ReportedExporter(OTLPSpanExporter(), self._log)
        self._provider = TracerProvider(ALWAYS_ON, _resource(), shutdown_on_exit=False, id_generator=self._ids)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("dropzero")

    async def close(self) -> None:
        """Send the spans that have ended, within CLOSE_TIMEOUT seconds, and stop."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), CLOSE_TIMEOUT)
        self._exporter.shutdown()
        self._log.close()

    def head(self, parent: str = "", state: str = "") -> Head | None:
        """Decide at the head of a request whether it is traced. Returns None if it is not: no object is made for it.

        `parent` and `state`: the client's `traceparent` and `tracestate`, as W3C Trace Context has them; empty where it
        sent none. A `parent` that is not valid is ignored.
        """
        if parent:
            context = _W3C.extract({"traceparent": parent, "tracestate": state}, _NO_PARENT)
            above = get_current_span(context).get_span_context()
            if above.is_valid:
                return self._head_of_client(context, above)
        trace_id = random.getrandbits(128)
        return Head(trace_id, _NO_PARENT) if trace_id & _LOW < self._bound else None

    def begin(
        self, head: Head, name: str, attributes: Mapping[str, Value] | None = None, began: int | None = None
    ) -> Span:
        """Begin the span of a request that is traced. `began` in nanoseconds since 1970; now by default."""
        self._ids.chosen = head.trace_id
        return Span(
            self._tracer, self._tracer.start_span(name, head.parent, SpanKind.SERVER, attributes, start_time=began)
        )

    def _head_of_client(self, context: Context, above: SpanContext) -> Head | None:
        """Decide about a request with a trace of its client."""
        sampled = above.trace_flags.sampled if self._parent_based else above.trace_id & _LOW < self._bound
        return Head(above.trace_id, context) if sampled and self._has_time_for_client() else None

    def _has_time_for_client(self) -> bool:
        """Count a trace that a client began. Returns whether there is room for it in this second."""
        second = int(self._now())
        if second != self._second:
            self._second, self._client_traces = second, 0
        self._client_traces += 1
        return self._client_traces <= MAX_CLIENT_TRACES


def _resource() -> Resource:
    """What the spans are of: OTEL_SERVICE_NAME, dropzero by default."""
    try:
        own = {"service.version": version("dropzero")}
    except PackageNotFoundError:  # a checkout that is not installed
        own = {}
    resource = Resource.create(own)
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):  # the SDK's default
        resource = resource.merge(Resource({"service.name": "dropzero"}))
    return resource
