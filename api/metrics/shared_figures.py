"""The figures of all worker processes of a server, in files that each worker reads, so that one scrape is their sum.

It borrows the files of prometheus_client's multiprocess mode. That mode names files after process ids: files of dead
processes pile up, and their gauges count until somebody removes them. Here a process locks a place, and the system
releases the lock when the process ends, however it ends. Its successor takes the place and counts on.
"""

import asyncio
import itertools
import json
import logging
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

logger = logging.getLogger("dropzero.metrics")

COPY_INTERVAL = 0.25
"""Seconds between two copies of a process's figures. Figures in the answer of another worker are at most so
old, and a process that is killed loses at most so much. A copy takes 0.1 ms when nothing has changed, 0.7 ms while five
products are sold, and 1.5 ms while a hundred are."""

FILE_SIZE = 128 * 1024
"""Bytes of a file, for 700 figures; prometheus_client extends it if necessary. A file is written whole before it gets
its name: a process dies when it writes to the mapped memory of a file for which the disk has no room."""

MEMORY = Path("/dev/shm")  # noqa: S108
"""Where Linux keeps files in memory. Writing to the mapped memory of a file on a disk can block while the disk is
busy."""


COUNTER, HISTOGRAM, SUM, LARGEST = "counter", "histogram", "sum", "largest"
"""The kinds of figures: each has a file. Gauges are added up, or the largest counts."""

_KEPT = (COUNTER, HISTOGRAM)
"""The kinds that a process leaves to its successor."""

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
    """The figures that one process shares with others. Counters and histograms are summed over all processes, ended
    ones included; gauges over those that run, except the gauges in `largest`, which show the largest."""

    def __init__(self, folder: Path, own: CollectorRegistry, largest: frozenset[str]) -> None:
        """Take a place. `own` collects the figures of this process, whose counters begin with 0. A metric of it that is
        the same object as before has not changed. Raises OSError."""
        self._folder = folder
        self._own = own
        self._largest = largest
        self._place, self._lock = _take_place(folder)
        self._files = {
            kind: _open(folder / f"{kind}_{self._place}.db", fresh=kind not in _KEPT) for kind in (*_KEPT, SUM, LARGEST)
        }
        self._copied: dict[str, Metric] = {}
        """The metrics of this process as they were copied last, by their names."""
        self._inherited: dict[str, float] = {}
        """The value of each counter, and of each bucket, when this process took the place."""
        self._keys: dict[tuple[str, ...], str] = {}
        self._parsed: dict[str, tuple[str, str, dict[str, str]]] = {}

    def copy(self) -> None:
        """Copy what has changed of the figures of this process to its files, which the others read."""
        for metric in self._own.collect():
            if metric is not self._copied.get(metric.name):
                self._write(metric)
                self._copied[metric.name] = metric

    def collect(self) -> Iterator[Metric]:
        """Yield the figures of all processes: current ones of this process, and up to COPY_INTERVAL old ones of
        others."""
        self.copy()
        places = _live_places(self._folder)
        samples: defaultdict[str, list[Sample]] = defaultdict(list)
        for kind in self._files:
            for key, value in self._total(kind, places).items():
                metric, sample, labels = self._parse(key)
                samples[metric].append(Sample(sample, labels, value))
        for own in list(self._copied.values()):
            family = Metric(own.name, own.documentation, own.type)
            family.samples = _accumulated(samples[own.name]) if own.type == HISTOGRAM else samples[own.name]
            yield family

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

    def _total(self, kind: str, places: list[int]) -> dict[str, float]:
        """The figures of one kind by their keys, added up; gauges only of the processes at `places`."""
        if kind in _KEPT:
            files = sorted(self._folder.glob(f"{kind}_*.db"))
        else:
            files = [self._folder / f"{kind}_{place}.db" for place in places]
        total: dict[str, float] = {}
        for file in files:
            with suppress(FileNotFoundError):  # its process has only just taken the place
                for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
                    if key not in total:
                        total[key] = value
                    else:
                        total[key] = max(total[key], value) if kind == LARGEST else total[key] + value
        return total

    def _write(self, metric: Metric) -> None:
        kind = metric.type
        if kind == "gauge":
            kind = LARGEST if metric.name in self._largest else SUM
        file, below = self._files[kind], 0.0
        for sample in metric.samples:
            key, value = self._key(metric, sample), sample.value
            if kind == HISTOGRAM and "le" in sample.labels:  # in the file, each bucket has its own values alone
                value, below = value - below, value
            if kind in _KEPT:
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
            key = self._keys[known] = mmap_key(metric.name, sample.name, labels, values, "")
        return key

    def _parse(self, key: str) -> tuple[str, str, dict[str, str]]:
        """The metric, the sample and the labels of a key, parsed once."""
        parsed = self._parsed.get(key)
        if parsed is None:
            metric, sample, labels, _ = json.loads(key)
            parsed = self._parsed[key] = metric, sample, labels
        return parsed


def _accumulated(samples: list[Sample]) -> list[Sample]:
    """The samples of a histogram without labels, each bucket with the values of those below, as Prometheus wants it."""
    below = 0.0
    accumulated: list[Sample] = []
    for sample in sorted(samples, key=lambda sample: float(sample.labels.get("le", "+Inf"))):
        if "le" in sample.labels:
            below += sample.value
            accumulated.append(sample._replace(value=below))
        else:  # so that the count is that of the buckets, also when another process was writing them
            accumulated.append(sample._replace(value=below) if sample.name.endswith("_count") else sample)
    return accumulated


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
