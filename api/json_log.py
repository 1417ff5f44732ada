"""Log lines as JSON: one object in each line, for systems that collect logs."""

import json
import logging
from datetime import UTC, datetime

FIELDS = ("request_id", "trace_id", "span_id")
"""The fields that a line has if it is about a request; see RequestTrace.log_fields."""


class JsonFormatter(logging.Formatter):
    """Makes one line of each record, tracebacks included."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **{name: value for name in FIELDS if (value := getattr(record, name, None)) is not None},
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        # ASCII, so that no encoding of stderr can spoil a line, and no text in it can end one.
        return json.dumps(entry)
