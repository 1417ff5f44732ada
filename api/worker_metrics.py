"""The figures of all worker processes of a server, in files that each worker reads, so that one scrape is their sum.

It borrows the files of prometheus_client's multiprocess mode, and how they are summed. That mode names files after
process ids: files of dead processes pile up, and their gauges count until somebody removes them. Here a process locks a
place, and the system releases the lock when the process ends, however it ends. Its successor takes the place and counts
on.
"""

import asyncio
import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

logger = logging.getLogger("dropzero.metrics")

COPY_INTERVAL = 0.25
"""Seconds between two copies of a process's figures. Figures in the answer of another worker are at most so
old, and a process that is killed loses at most so much. A copy takes 0.1 ms."""

FILE_SIZE = 64 * 1024
"""Bytes of a file, for 250 figures; prometheus_client extends it if necessary. A file is written whole before it gets
its name: a process dies when it writes to the mapped memory of a file for which the disk has no room."""

MEMORY = Path("/dev/shm")  # noqa: S108
"""Where Linux keeps files in memory. Writing to the mapped memory of a file on a disk can block while the disk is
busy."""


_PREFIX = "dropzero-figures-"

_OWNER = "owner"
"""The file in a folder that the folder's owner has locked. The system releases the lock when the owner ends."""


def figures_parent(memory: Path = MEMORY) -> Path | None:
    """The folder for the folder of figures; None for the system's temporary folder."""
    return memory if os.access(memory, os.W_OK | os.X_OK) else None


@contextmanager
def shared_folder(memory: Path = MEMORY) -> Iterator[Path]:
    """Make a folder for the figures of several processes, until the block is left. Removes the folders of owners that
    were killed. Raises OSError."""
    import fcntl  # not on Windows, where this module is imported but not used

    parent = figures_parent(memory) or Path(tempfile.gettempdir())
    for leftover in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # such as a folder of another user
            if not _is_held(leftover / _OWNER) and not _live_places(leftover):
                shutil.rmtree(leftover, ignore_errors=True)
    unnamed = Path(tempfile.mkdtemp(prefix="dropzero-new-", dir=parent))
    folder = parent / unnamed.name.replace("dropzero-new-", _PREFIX)
    with (unnamed / _OWNER).open("a", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unnamed.rename(folder)  # only now, locked, so that no other server removes it
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class SharedFigures(Collector):
    """The figures that one process shares with others. Counters are summed over all processes, ended ones included;
    gauges over those that run, except the gauges in `largest`, which show the largest."""

    def __init__(self, folder: Path, own: CollectorRegistry, largest: frozenset[str]) -> None:
        """Take a place. `own` collects the figures of this process, whose counters begin with 0. Raises OSError."""
        self._folder = folder
        self._own = own
        self._largest = largest
        self._place, self._lock = _take_place(folder)
        kinds = {"counter": False, "gauge_livesum": True, "gauge_livemax": True}
        self._files = {kind: _open(folder / f"{kind}_{self._place}.db", fresh=fresh) for kind, fresh in kinds.items()}
        self._inherited: dict[str, float] = {}
        """The value of each counter when this process took the place."""
        self._keys: dict[tuple[str, ...], str] = {}

    def copy(self) -> None:
        """Copy the figures of this process to its files, which the others read."""
        for metric in self._own.collect():
            for sample in metric.samples:
                self._write(metric, sample)

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of all processes: current ones of this process, and up to COPY_INTERVAL old ones of
        others."""
        self.copy()
        files = sorted(self._folder.glob("counter_*.db"))
        for place in _live_places(self._folder):
            files += sorted(self._folder.glob(f"gauge_*_{place}.db"))
        yield from MultiProcessCollector.merge([str(file) for file in files])

    async def keep_copying(self) -> None:
        """Copy once per COPY_INTERVAL, until cancelled."""
        while True:
            await asyncio.sleep(COPY_INTERVAL)
            try:
                self.copy()
            except Exception:
                logger.exception(
                    "defect: the figures of this process are missing in the answers of others; report it with this "
                    "traceback",
                )

    def close(self) -> None:
        """Copy for the last time, and release the place."""
        self.copy()
        for file in self._files.values():
            file.close()
        self._lock.close()

    def _write(self, metric: Metric, sample: Sample) -> None:
        kind = metric.type
        if kind == "gauge":
            kind = "gauge_livemax" if metric.name in self._largest else "gauge_livesum"
        file, key = self._files[kind], self._key(metric, sample)
        value = sample.value
        if kind == "counter":
            if key not in self._inherited:
                self._inherited[key] = file.read_value(key)[0]
            value += self._inherited[key]
        file.write_value(key, value, 0.0)

    def _key(self, metric: Metric, sample: Sample) -> str:
        """The name of a figure in the file, made once: making it for each copy would take half of the copy's time."""
        known = sample.name, *sample.labels.values()
        key = self._keys.get(known)
        if key is None:
            labels = sorted(sample.labels)
            values = [sample.labels[label] for label in labels]
            key = self._keys[known] = mmap_key(metric.name, sample.name, labels, values, metric.documentation)
        return key


def _take_place(folder: Path) -> tuple[int, IO[str]]:
    """Take the lowest free place. Returns its number, and the file whose lock holds it."""
    import fcntl  # not on Windows, where this module is imported but not used

    for place in itertools.count():
        lock = open(folder / f"{place}.lock", "a", encoding="ascii")  # noqa: SIM115
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
        else:
            return place, lock
    raise AssertionError("unreachable")


def _live_places(folder: Path) -> list[int]:
    """The places that a process holds."""
    return [int(path.stem) for path in sorted(folder.glob("*.lock")) if _is_held(path)]


def _is_held(path: Path) -> bool:
    """Whether a process has locked a file. Raises OSError where there is no such file."""
    import fcntl  # not on Windows, where this module is imported but not used

    with path.open(encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _open(path: Path, *, fresh: bool) -> MmapedDict:
    """Open a file of figures, which others may read at any moment. Makes it where there is none, or anew if `fresh`."""
    if fresh or not path.exists():
        whole = path.with_suffix(".new")
        whole.write_bytes(bytes(FILE_SIZE))
        whole.rename(path)
    return MmapedDict(str(path))
