"""A wait for clusters: with a deadline, and telling of every change and now and then that it goes on."""

from collections.abc import Callable, Iterable

from api.cluster.control_plane import Aws, Cluster

INTERVAL = 5.0
"""Seconds between two looks."""

HEARTBEAT = 30.0
"""Seconds of no change after which the statuses are told again."""


class Wait:
    """Begins when it is made, and ends `timeout` seconds later."""

    def __init__(self, aws: Aws, timeout: float, tell: Callable[[str], None]) -> None:
        self._aws = aws
        self._tell = tell
        self._began = aws.clock()
        self._timeout = timeout
        self._told: tuple[str, float] | None = None

    @property
    def elapsed(self) -> float:
        """Seconds."""
        return self._aws.clock() - self._began

    def report(self, clusters: Iterable[Cluster]) -> str:
        """Tell the status of each if it is news. Returns them in words."""
        statuses = ", ".join(f"{cluster.region} {_in_words(cluster.status)}" for cluster in clusters)
        if self._told is None or self._told[0] != statuses or self.elapsed - self._told[1] >= HEARTBEAT:
            self.tell(statuses)
            self._told = (statuses, self.elapsed)
        return statuses

    def tell(self, text: str) -> None:
        """One line, after the seconds since the beginning."""
        self._tell(f"{self.elapsed:4.0f} s  {text}")

    def pause(self) -> bool:
        """Wait until the next look. False when there is no time left for one."""
        if self.elapsed + INTERVAL > self._timeout:
            return False
        self._aws.sleep(INTERVAL)
        return True


def _in_words(status: str) -> str:
    return "PENDING_DELETE (until its peer is deleted, too)" if status == "PENDING_DELETE" else status
