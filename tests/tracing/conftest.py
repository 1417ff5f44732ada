"""A collector, and a server that sends its traces to it."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from api.settings import Settings
from api.tracing.variables import Sampling
from tests.server import Server, serving
from tests.tracing.collector import Collector, collecting


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector, which the environment names."""
    async with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")  # milliseconds; 5 s by default
        yield collector


@pytest.fixture
async def traced(settings: Settings, collector: Collector) -> AsyncIterator[Server]:
    """A server that traces every request."""
    async with serving(replace(settings, tracing=Sampling())) as server:
        yield server
