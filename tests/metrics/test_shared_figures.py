"""The figures that the workers of a server share: counters never go down when workers end and start."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

from api.drops.histogram import Histogram
from api.metrics import shared_figures
from api.metrics.histograms import HistogramReader
from api.metrics.shared_figures import SharedFigures

NO_WAITS = {"wait_bucket1.0": 0, "wait_bucket10.0": 0, "wait_bucket+Inf": 0, "wait_count": 0, "wait_sum": 0}


class Process(Collector):
    """The figures of one process, and those that it shows of all."""

    def __init__(self, folder: Path) -> None:
        self.sold = 0
        self.open = 0
        self.away = 0
        self.waits = Histogram((1.0, 10.0))
        self._waits = HistogramReader("wait", "Waits.")
        own = CollectorRegistry()
        own.register(self)
        self.figures = SharedFigures(folder, own, frozenset({"away"}))

    def collect(self) -> Iterator[Metric]:
        sold = CounterMetricFamily("sold", "Sold.", labels=["region"])
        if self.sold:
            sold.add_metric(["tokyo"], self.sold)
        away = GaugeMetricFamily("away", "Away.", labels=["region"])
        away.add_metric(["tokyo"], self.away)
        yield from (sold, GaugeMetricFamily("open", "Open.", value=self.open), away)
        yield self._waits.read([self.waits])

    def counted(self) -> dict[str, float]:
        samples = [sample for metric in self.figures.collect() for sample in metric.samples]
        counted = {sample.name + sample.labels.get("le", ""): sample.value for sample in samples}
        assert len(counted) == len(samples)
        return counted

    def figures_but_waits(self) -> dict[str, float]:
        return {name: value for name, value in self.counted().items() if not name.startswith("wait_")}

    def die(self) -> None:
        """End without a last copy, like a killed process. A second call does nothing."""
        for file in self.figures._files.values():
            file.close()
        self.figures._lock.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[[], Process]]:
    """Starts processes that share the folder; all have ended after the test."""
    with contextlib.ExitStack() as stack:

        def start() -> Process:
            process = Process(folder)
            stack.callback(process.die)
            return process

        yield start


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_each_process_shows_sums_and_the_largest_of_some_gauges(start: Callable[[], Process]) -> None:
    ada, bob = start(), start()
    ada.sold, ada.open, ada.away = 3, 10, 1
    bob.sold, bob.open = 4, 20
    bob.figures.copy()

    assert ada.figures_but_waits() == {"sold_total": 7, "open": 30, "away": 1}
    assert bob.counted() == ada.counted()


def test_counters_of_an_ended_process_stay_and_its_gauges_go(start: Callable[[], Process]) -> None:
    ada, bob = start(), start()
    bob.sold, bob.open, bob.away = 4, 20, 1
    bob.figures.close()
    assert ada.figures_but_waits() == {"sold_total": 4, "open": 0, "away": 0}

    killed = start()
    killed.sold, killed.open = 2, 5
    killed.figures.copy()
    assert ada.figures_but_waits() == {"sold_total": 6, "open": 5, "away": 0}
    killed.die()
    assert ada.figures_but_waits() == {"sold_total": 6, "open": 0, "away": 0}


def test_a_successor_counts_on_in_the_files_of_the_process_before(folder: Path, start: Callable[[], Process]) -> None:
    ada = start()
    known = files(folder)
    total = 0
    for _ in range(20):
        bob = start()
        assert ada.counted()["sold_total" if total else "open"] == total
        bob.sold, bob.open = 5, 1
        total += 5
        bob.figures.copy()
        bob.figures.copy()
        assert ada.figures_but_waits() == {"sold_total": total, "open": 1, "away": 0}
        bob.die()
    assert len(files(folder)) == 2 * len(known)


def test_buckets_are_added_up_and_those_of_an_ended_process_stay(start: Callable[[], Process]) -> None:
    ada, bob = start(), start()
    for seconds in (0.5, 0.75, 5.0, 100.0):
        ada.waits.add(seconds)
    bob.waits.add(5.0)
    bob.figures.copy()
    bob.waits.add(0.25)
    bob.figures.close()
    expected = {"wait_bucket1.0": 3, "wait_bucket10.0": 5, "wait_bucket+Inf": 6, "wait_count": 6, "wait_sum": 111.5}
    assert expected.items() <= ada.counted().items()

    successor = start()
    assert expected.items() <= successor.counted().items()
    successor.waits.add(5.0)
    more = {"wait_bucket1.0": 3, "wait_bucket10.0": 6, "wait_bucket+Inf": 7, "wait_count": 7, "wait_sum": 116.5}
    assert more.items() <= successor.counted().items()
    assert more.items() <= ada.counted().items()


def test_buckets_of_a_version_with_other_bounds_are_in_order(start: Callable[[], Process]) -> None:
    before = start()
    before.waits.add(5.0)
    before.figures.close()
    after = start()
    after.waits = Histogram((1.0, 3.0, 10.0))
    after.waits.add(2.0)

    buckets = [name for name in after.counted() if name.startswith("wait_bucket")]
    assert buckets == ["wait_bucket1.0", "wait_bucket3.0", "wait_bucket10.0", "wait_bucket+Inf"]
    assert [after.counted()[name] for name in buckets] == [0, 1, 2, 2]


def test_what_has_not_changed_is_not_copied_again(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = start()
    ada.waits.add(0.5)
    ada.figures.copy()
    written: list[str] = []
    monkeypatch.setattr(MmapedDict, "write_value", lambda self, key, value, timestamp: written.append(key))
    ada.figures.copy()
    assert not any("wait" in key for key in written)
    ada.waits.add(0.5)
    ada.figures.copy()
    assert any("wait_bucket" in key for key in written)


def test_a_figure_never_shows_before_it_is_whole(start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch) -> None:
    ada = start()
    ada.sold = 1
    counted = []
    write = Path.write_bytes

    def look_and_write(path: Path, content: bytes) -> int:
        written = write(path, content[:1])
        counted.append(ada.counted())
        return written + write(path, content)

    monkeypatch.setattr(Path, "write_bytes", look_and_write)
    start()
    assert counted == [{**NO_WAITS, "sold_total": 1, "open": 0, "away": 0}] * 4


def test_a_folder_in_memory_is_preferred_and_not_needed(tmp_path: Path) -> None:
    assert shared_figures.figures_parent(tmp_path) == tmp_path
    assert shared_figures.figures_parent(tmp_path / "none") is None


def test_the_folder_of_an_owner_that_was_killed_is_removed_when_nobody_counts_in_it(tmp_path: Path) -> None:
    killed, orphaned, others = (tmp_path / f"dropzero-figures-{name}" for name in ("killed", "orphaned", "others"))
    for folder in (killed, orphaned, others):
        folder.mkdir()
    (killed / "owner").touch()
    (orphaned / "owner").touch()
    orphan = Process(orphaned)
    with shared_figures.shared_folder(tmp_path) as first:
        assert set(tmp_path.iterdir()) == {orphaned, others, first}
        orphan.die()
        with shared_figures.shared_folder(tmp_path) as second:
            assert set(tmp_path.iterdir()) == {others, first, second}
        assert set(tmp_path.iterdir()) == {others, first}
    assert set(tmp_path.iterdir()) == {others}, "it may be of another program"
