"""For every test: where temporary folders lie, when garbage is collected, and which processes a run ends."""

import contextlib
import gc
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import processes
from tests.patience import FACTOR

pytest_plugins = ("tests.fixtures.databases", "tests.fixtures.clusters", "tests.fixtures.servers")

# Bytecode is kept, whatever PYTHONDONTWRITEBYTECODE says, from the next import on. Without it every process of the run
# rewrites the asserts of all tests anew, which takes half of its start: 9.5 s of CPU time instead of 4.5 s.
sys.dont_write_bytecode = False

MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3
"""Free bytes that MEMORY needs before a run uses it; a run takes a tenth of them."""


def pytest_configure(config: pytest.Config) -> None:
    """Set up the run. Temporary folders lie in memory if there is room: most are databases of hundreds of files.

    Garbage is collected as seldom as in a serving process: a scan of all tests at each of their thousands of objects
    took a quarter of their collection.
    """
    gc.set_threshold(100_000, 20, 50)
    with contextlib.suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    processes.handle_interrupts()
    if not hasattr(config, "workerinput"):
        config.add_cleanup(processes.mark())
    config.option.timeout = config.option.timeout or float(config.getini("timeout")) * FACTOR


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run whose tests left a process behind, and end that process."""
    if hasattr(session.config, "workerinput"):
        return
    left = processes.end_what_is_left(os.environ[processes.MARK], processes.GRACE)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for process in left:
            print(f"\nLEFT BEHIND by a test, and ended now: {process}", file=sys.stderr)  # noqa: T201


@pytest.fixture(scope="session", autouse=True)
def garbage() -> Iterator[None]:
    """Keep imported objects and tests out of the collections of garbage. Scanning them took a fifth of the time.

    An object that is collected without having been closed fails a test, at the latest the last one.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.collect()
