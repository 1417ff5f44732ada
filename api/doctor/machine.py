"""The machine: how many files, processes and bytes it gives to a server, and whether the data folder can be used."""

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.doctor.finding import Finding, failed, ok, warning
from api.process import LEAST_FILES, raise_file_limit
from api.settings import Settings

OTHER_FILES = 1_000
"""Open files beside the sockets that stay open, as api/server.py leaves them."""

LEAST_PROCESSES = 200
"""Processes and threads of one user. The embedded PostgreSQL has one for each connection, some 40 in all."""

LEAST_MEMORY, ENOUGH_MEMORY = 100e6, 512e6
"""Bytes. A process takes some 150 MB, and 15,000 watchers 6 KiB each."""

LEAST_DISK, ENOUGH_DISK = 200e6, 2e9
"""Bytes for the embedded database. A new one takes 40 MB, and its log of transactions grows to 1 GB."""

LEAST_TEMPORARY = 50e6
"""Bytes for sockets, and for the figures that workers share: 64 KB for each."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this process may use. `free` returns the free bytes of a folder's disk."""

    files: float
    processes: float
    memory: float
    free: Callable[[Path], float]


def read_machine() -> Machine:
    """The limits of this process and of its container."""
    return Machine(raise_file_limit(), _process_limit(), _free_memory(), lambda folder: shutil.disk_usage(folder).free)


def check_machine(machine: Machine, settings: Settings | None) -> Iterator[Finding]:
    """What the machine lacks. Without settings, the checks that need none."""
    sockets = 0 if settings is None else settings.sockets
    yield _files(machine.files, sockets)
    if machine.processes < LEAST_PROCESSES:
        yield warning("processes", f"this user may have {machine.processes:g}", f"ulimit -u {LEAST_PROCESSES * 5}")
    else:
        yield ok("processes", f"this user may have {_number(machine.processes)}")
    yield _bytes("memory", machine.memory, LEAST_MEMORY, ENOUGH_MEMORY, "free memory, or give the container more")
    yield from _disks(machine, settings)


def _files(limit: float, sockets: int) -> Finding:
    found = f"a process may open {_number(limit)}"
    if limit < LEAST_FILES:
        return failed("files", f"{found}, and a start needs {LEAST_FILES}", f"ulimit -n {sockets + OTHER_FILES}")
    if limit < sockets + OTHER_FILES:
        return warning(
            "files",
            f"{found}, too few for DROPZERO_SOCKETS={sockets} beside {OTHER_FILES} others; a server lowers its sockets",
            f"ulimit -n {sockets + OTHER_FILES}",
        )
    return ok("files", found)


def _disks(machine: Machine, settings: Settings | None) -> Iterator[Finding]:
    if settings is not None and settings.embedded:
        folder = _existing(settings.data_directory)
        yield _writable(folder, settings.data_directory)
        mend = f"free space on the disk of {folder}, or choose another folder with DROPZERO_DATA"
        yield _bytes("disk", machine.free(folder), LEAST_DISK, ENOUGH_DISK, mend)
    for folder in dict.fromkeys((Path(tempfile.gettempdir()), Path("/dev/shm"))):  # noqa: S108
        if folder.is_dir():
            mend = f"free space in {folder}, or make it larger (docker run --shm-size for /dev/shm)"
            yield _bytes(str(folder), machine.free(folder), 0, LEAST_TEMPORARY, mend)


def _writable(folder: Path, data: Path) -> Finding:
    """Whether a file can be made in a folder, which is that of the data or the nearest above it that exists."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return failed(
            "data folder",
            f"{data} cannot be written: {folder}: {error.strerror}",
            f"choose another with DROPZERO_DATA, or run: chown {os.environ.get('USER') or os.geteuid()} {folder}",
        )
    return ok("data folder", f"{data} {'can be written' if folder == data.absolute() else 'can be made'}")


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _bytes(check: str, free: float, least: float, enough: float, mend: str) -> Finding:
    found = f"{_size(free)} free"
    if free < least:
        return failed(check, f"{found}, and a start needs {_size(least)}", mend)
    if free < enough:
        return warning(check, f"{found}, and {_size(enough)} are wise", mend)
    return ok(check, found)


def _process_limit() -> float:
    try:
        import resource
    except ImportError:  # not on Windows
        return math.inf
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    return math.inf if soft == resource.RLIM_INFINITY else soft


def _free_memory() -> float:
    """Bytes that this process can still use, of the machine or of its container; infinity where neither shows it."""
    free = math.inf
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = int(line.split()[1]) * 1024.0
        most = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        return free if most == "max" else min(free, float(int(most) - int(used)))
    except (OSError, ValueError):
        return free


def _number(value: float) -> str:
    return "any number" if math.isinf(value) else f"{value:,.0f}"


def _size(size: float) -> str:
    if math.isinf(size):
        return "an unknown number of bytes"
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
