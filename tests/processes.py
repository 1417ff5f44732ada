"""The processes of a run of tests: each inherits a mark in its environment, by which what is left is found and ended.

Run as a program it ends them when the run itself is gone: `python tests/processes.py MARK`, with a pipe from the run.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path

MARK = "TESTS_OF_DROPZERO"
GRACE = 10.0
"""Seconds for processes to end by themselves when the last test is over."""


def mark() -> Callable[[], None]:
    """Mark every process that this one starts from now on, and theirs. They end soon after this one, however it ends:
    a run that is killed runs no fixture's end. Returns what ends them now."""
    value = uuid.uuid4().hex
    program = [sys.executable, "-S", __file__, value]
    ending = subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True)
    os.environ[MARK] = value

    def end() -> None:
        ending.communicate()  # closes the pipe

    return end


def end_what_is_left(value: str, grace: float) -> list[str]:
    """Wait `grace` seconds for the marked processes to end, kill those that do not, and return them as `PID COMMAND`.

    Linux only: elsewhere nothing is found.
    """
    deadline = time.monotonic() + grace
    while (left := _marked(value)) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            left[pid] += " (it has ended meanwhile)"
    return [f"{pid} {command}" for pid, command in left.items()]


def _marked(value: str) -> dict[int, str]:
    wanted = f"{MARK}={value}".encode()
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


if __name__ == "__main__":
    sys.stdin.read()  # until the run is gone
    while end_what_is_left(sys.argv[1], grace=1.0):  # a process that was just killed may have started another
        pass
