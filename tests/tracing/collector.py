"""A collector of OpenTelemetry: receives traces over HTTP as the real one does, and decodes them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.listener import accepting
from tests.patience import until

ERROR = 2
"""The status code of a span that has failed."""

INTERNAL, SERVER, CLIENT = 1, 2, 3
"""Kinds of spans."""


@dataclass(frozen=True)
class SpanSent:
    """One span as it arrived. Ids are in hexadecimal; `parent` is empty for a root."""

    name: str
    trace: str
    id: str
    parent: str
    kind: int
    seconds: float
    failed: bool
    attributes: dict[str, Any]
    links: list[tuple[str, str]]


@dataclass
class Collector:
    """`answer`: how it answers, 200 by default. `bodies`: what it has received, as bytes."""

    url: str = ""
    answer: Callable[[], Awaitable[web.Response]] | None = None
    requests: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    spans: list[SpanSent] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)

    async def receive(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        body = await request.read()
        if self.answer is not None:
            return await self.answer()
        assert (request.method, request.path) == ("POST", "/v1/traces")
        assert request.headers["content-type"] == "application/x-protobuf"
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(values(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += [
                    SpanSent(
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        span.kind,
                        (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                        span.status.code == ERROR,
                        values(span.attributes),
                        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    )
                    for span in scope.spans
                ]
        return web.Response(content_type="application/x-protobuf")

    def roots(self) -> list[SpanSent]:
        """The spans of requests, in the order in which they ended."""
        return [span for span in self.spans if span.kind == SERVER]

    async def root(self, number: int = 1) -> SpanSent:
        """Wait until so many requests' spans have arrived, and return the last."""
        await until(lambda: len(self.roots()) >= number)
        return self.roots()[-1]

    def within(self, parent: SpanSent) -> list[SpanSent]:
        """The spans right within a span, in the order in which they ended."""
        return [span for span in self.spans if span.parent == parent.id]


def values(attributes: Any) -> dict[str, Any]:
    def value(attribute: KeyValue) -> Any:
        return getattr(attribute.value, str(attribute.value.WhichOneof("value")))

    return {attribute.key: value(attribute) for attribute in attributes}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Run a collector on this machine until the block is left."""
    collector = Collector()
    runner = web.ServerRunner(web.Server(collector.receive), shutdown_timeout=0)
    await runner.setup()
    try:
        assert runner.server is not None
        server = await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)
        async with accepting(server) as port:
            collector.url = f"http://127.0.0.1:{port}"
            yield collector
    finally:
        await runner.cleanup()
