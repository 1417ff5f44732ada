"""The processes of a run of tests: each inherits a mark in its environment, by which what is left is found."""

import os
import signal
import time
import uuid
from pathlib import Path

MARK = "TESTS_OF_DROPZERO"
GRACE = 10.0
"""Seconds for processes to end by themselves when the last test is over."""


def mark() -> None:
    """Mark every process that this one starts from now on, and theirs."""
    os.environ[MARK] = uuid.uuid4().hex


def end_what_is_left() -> list[str]:
    """Wait for the marked processes to end, kill those that do not, and return them as `PID COMMAND`.

    Linux only: elsewhere nothing is found.
    """
    deadline = time.monotonic() + GRACE
    while (left := _marked()) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            left[pid] += " (it has ended meanwhile)"
    return [f"{pid} {command}" for pid, command in left.items()]


def _marked() -> dict[int, str]:
    wanted = f"{MARK}={os.environ[MARK]}".encode()
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0") and not _is_over(folder):
                found[int(folder.name)] = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue  # it has ended, or belongs to somebody else
    return found


def _is_over(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(") ")[2].startswith("Z")
