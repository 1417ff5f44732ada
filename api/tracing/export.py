"""Sending of spans, with one log line when it begins to fail, and one when it succeeds again."""

import logging
import time
from collections.abc import Sequence
from math import inf

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger("dropzero.tracing")

INTERVAL = 60.0
"""Seconds between two log lines about spans that found no room in the queue."""


class SdkLog(logging.Handler):
    """Takes the SDK's own log lines, from `open` to `close`. They come several for each batch that fails, name the
    collector's whole URL, which can have a key, and do not say what to do."""

    def __init__(self) -> None:
        super().__init__()
        self._logger = logging.getLogger("opentelemetry")
        self._logged_at = -inf
        self.reason = ""
        """Why the last attempt to send has failed, as far as it can be shown: a status, or the class of an error."""

    def open(self) -> None:
        self._logger.addHandler(self)
        self._logger.propagate = False

    def close(self) -> None:
        """Stop. The SDK's thread can end later, and what it logs then is dropped."""
        self._logger.removeHandler(self)
        self._logger.addHandler(logging.NullHandler())
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg.startswith("Queue full"):
            self._log_full_queue()
            return
        for argument in record.args if isinstance(record.args, tuple) else ():
            if isinstance(argument, Exception):
                self.reason = f" ({type(argument).__name__})"
            elif isinstance(argument, int):
                self.reason = f" (status {argument})"

    def _log_full_queue(self) -> None:
        now = time.monotonic()
        if now >= self._logged_at + INTERVAL:
            self._logged_at = now
            logger.warning(
                "more spans end than can be sent, and some are dropped; purchases go on. Trace a smaller share of the "
                "requests: OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG=0.01"
            )


class ReportedExporter(SpanExporter):
    """Sends spans through another exporter, from the SDK's thread."""

    def __init__(self, exporter: SpanExporter, log: SdkLog) -> None:
        self._exporter = exporter
        self._log = log
        self._failed = 0
        """Spans that were dropped since the last success."""
        self._closed = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._closed:
            return SpanExportResult.FAILURE
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            if self._failed:
                logger.info("traces are sent again; %d spans were dropped", self._failed)
            self._failed = 0
        else:
            if not self._failed:
                logger.warning(
                    "traces cannot be sent%s, and are dropped until they can; purchases go on. Check that a collector "
                    "receives http/protobuf at the URL of OTEL_EXPORTER_OTLP_ENDPOINT, and OTEL_EXPORTER_OTLP_HEADERS",
                    self._log.reason,
                )
            self._failed += len(spans)
        return result

    def shutdown(self) -> None:
        """Stop sending, also an attempt that waits for the next one. May be called again."""
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True
