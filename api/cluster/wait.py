"""Waits for clusters until a deadline, and prints their statuses at every change and every HEARTBEAT."""

from collections.abc import Callable, Iterable

from api.cluster.control_plane import Aws, Cluster

INTERVAL = 5.0
"""Seconds between two reads."""

HEARTBEAT = 30.0
"""Seconds without a change after which the statuses are printed again."""


class Wait:
    """A wait that begins when it is created and ends `timeout` seconds later. `write` prints a line."""

    def __init__(self, aws: Aws, timeout: float, write: Callable[[str], None]) -> None:
        self._aws = aws
        self._write = write
        self._began = aws.clock()
        self._timeout = timeout
        self._reported: tuple[str, float] | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the wait began."""
        return self._aws.clock() - self._began

    def report(self, clusters: Iterable[Cluster]) -> str:
        """Return the clusters' statuses as text, and print it if it has changed or HEARTBEAT has passed."""
        statuses = ", ".join(f"{cluster.region} {_in_words(cluster.status)}" for cluster in clusters)
        if self._reported is None or self._reported[0] != statuses or self.elapsed - self._reported[1] >= HEARTBEAT:
            self.log(statuses)
            self._reported = (statuses, self.elapsed)
        return statuses

    def log(self, text: str) -> None:
        """Print one line of progress, after the seconds since the wait began."""
        self._write(f"{self.elapsed:4.0f} s  {text}")

    def pause(self) -> bool:
        """Wait until the next read. Returns False at once when the deadline leaves no time for another read."""
        if self.elapsed + INTERVAL > self._timeout:
            return False
        self._aws.sleep(INTERVAL)
        return True


def _in_words(status: str) -> str:
    return "PENDING_DELETE (until its peer is deleted, too)" if status == "PENDING_DELETE" else status
