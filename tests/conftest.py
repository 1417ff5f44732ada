"""What holds for every test: where temporary folders lie, when garbage is collected, and that no process is left."""

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

MEMORY = Path("/dev/shm")
ROOM = 2 * 1024**3
"""Bytes that a run may have in temporary folders; it takes a tenth of them."""


def pytest_configure(config: pytest.Config) -> None:
    """Have temporary folders in memory where there is room: most are databases, of hundreds of files each."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    if not hasattr(config, "workerinput"):
        config.add_cleanup(processes.mark())
    config.option.timeout = config.option.timeout or float(config.getini("timeout")) * FACTOR


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run that has left a process behind, and end the process."""
    if hasattr(session.config, "workerinput"):
        return
    left = processes.end_what_is_left(os.environ[processes.MARK], processes.GRACE)
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        for process in left:
            print(f"\nLEFT BEHIND by a test, and ended now: {process}", file=sys.stderr)  # noqa: T201


@pytest.fixture(scope="session", autouse=True)
def garbage() -> Iterator[None]:
    """Collect garbage as a process that serves does; looking through all that was imported took a fifth of the time.

    What was dropped without having been closed fails a test, at the latest the last one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    yield
    gc.collect()
