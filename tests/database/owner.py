"""Another process that owns an embedded PostgreSQL, and the processes that it leaves."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from tests.patience import PATIENCE

Owner: TypeAlias = "subprocess.Popen[str]"

OWN = """
import signal, sys
from pathlib import Path
from api.database.embedded import embedded_postgres

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with embedded_postgres(Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def starting_owner(directory: Path) -> Iterator[Owner]:
    """A process that starts the server in the folder. At the end of the block its stdin is closed, which ends it. It is
    killed if it does not end."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWN, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield owner
    finally:
        try:
            owner.communicate(timeout=PATIENCE)
        finally:
            owner.kill()
            owner.communicate()


@contextlib.contextmanager
def another_owner(directory: Path) -> Iterator[Owner]:
    """A process that owns the server in the folder until the block ends."""
    with starting_owner(directory) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline().startswith("postgresql://")
        yield owner


def postmaster_pid(directory: Path) -> int:
    return int((directory / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()


def processes_on(directory: Path) -> dict[int, str]:
    """The command lines, by process id, of all processes that name the folder there, or that run in a folder in it. As
    root the embedded PostgreSQL runs in its folder, and its command line may not name the folder."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if str(directory).encode() in command or (process / "cwd").readlink().is_relative_to(directory):
                found[int(process.name)] = command.replace(b"\0", b" ").decode()
    return found
