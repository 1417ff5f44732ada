"""What the operating system and the interpreter give a process that serves: open files, garbage collection, a log."""

import gc
import logging
import math
import sys

from api.json_log import JsonFormatter

LEAST_FILES = 64
"""Open files that a start needs. With fewer, the event loop or PostgreSQL fails with a message of its own."""

MAC_FILES = 10_240
"""The limit of open files to set on macOS where none is set: macOS refuses an unlimited one (setrlimit(2))."""


TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""The format of a log line that is not JSON."""


class CannotServe(Exception):
    """The server cannot start; the message says why and what to do."""


def require_files() -> None:
    """Raise the limit of open files as far as the system allows. Raises CannotServe when that is not far enough."""
    most = raise_file_limit()
    if most < LEAST_FILES:
        raise CannotServe(f"this process may open {most:g} files, and needs {LEAST_FILES}; raise the limit (ulimit -n)")


def raise_file_limit() -> float:
    """Raise the limit of open files as far as the system allows, and return it. Every buyer's connection is an open
    file, and the usual limit is 1,024."""
    try:
        import resource
    except ImportError:  # not on Windows
        return math.inf
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, MAC_FILES) if hard == resource.RLIM_INFINITY else hard
    if soft != most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def tune_garbage_collector() -> None:
    """Exempt the objects that exist now from garbage collection, and collect less often.

    A purchase leaves no reference cycles, and its objects come and go in groups of hundreds. With the usual thresholds
    the collector takes a sixth of the time under load, and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def has_json_log() -> bool:
    """Whether `configure_logging` has chosen JSON."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)


def configure_logging(*, json: bool = False) -> None:
    """Log each event in one line on stderr, as text or as JSON; of uvicorn's own lines, warnings and errors only. The
    first call in a process decides."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.captureWarnings(json)  # Python's own warnings are lines of text otherwise
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
