"""The processes of a run of tests: each inherits a mark in its environment, so that those that are left can be ended.

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


def handle_interrupts() -> None:
    """Handle SIGINT in this process if it was started to ignore it; the processes that it starts then do not either.

    A shell script starts `pytest &` with SIGINT ignored, and every child inherits that. A command that a test
    interrupts would never see the signal, and the test would wait for its end until the test's timeout.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def mark() -> Callable[[], None]:
    """Mark every process that this one starts from now on, and their children. Returns a function that ends them now.

    They also end soon after this process, however it ends: when a run is killed, no fixture is torn down.
    """
    value = uuid.uuid4().hex
    program = [sys.executable, "-S", __file__, value]
    ending = subprocess.Popen(program, stdin=subprocess.PIPE, start_new_session=True)
    os.environ[MARK] = value

    def end() -> None:
        ending.communicate()  # closes the pipe

    return end


def end_what_is_left(value: str, grace: float) -> list[str]:
    """Wait `grace` seconds for the marked processes to end, kill the others, and return these as `PID COMMAND`.

    Works on Linux only; elsewhere it returns an empty list.
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
            if wanted in (folder / "environ").read_bytes().split(b"\0") and not _is_zombie(folder):
                found[int(folder.name)] = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            continue  # the process has ended, or belongs to another user
    return found


def _is_zombie(folder: Path) -> bool:
    return (folder / "stat").read_text().rpartition(") ")[2].startswith("Z")


if __name__ == "__main__":
    sys.stdin.read()  # until the run is gone
    while end_what_is_left(sys.argv[1], grace=1.0):  # a process that was just killed may have started another
        pass
