"""The metrics of a server that has everything, after real traffic."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


@dataclass(frozen=True)
class Scrape:
    """The text of an answer of /metrics."""

    text: str

    @property
    def metrics(self) -> dict[str, Metric]:
        """By the name that a reader sees: that of a counter ends in `_total`."""
        families = text_string_to_metric_families(self.text)
        return {metric.name + "_total" * (metric.type == "counter"): metric for metric in families}

    @property
    def samples(self) -> Iterator[Sample]:
        for metric in self.metrics.values():
            yield from metric.samples

    @property
    def series(self) -> dict[str, set[str]]:
        """The names that a query can use, each with its labels."""
        found: dict[str, set[str]] = {}
        for sample in self.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
        return found

    def value(self, name: str, **labels: str) -> float:
        """The sum of the samples that have these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )
