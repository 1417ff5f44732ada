"""Refusals: refused requests are counted, and logged once a minute at most, however many there are."""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field

logger = logging.getLogger("dropzero.refusals")

INTERVAL = 60.0
"""Seconds between two log lines about refusals of one kind."""

MAX_CLIENTS = 1_000
"""Clients that are counted by name within one interval."""


@dataclass(slots=True)
class _Unreported:
    """Refusals of one kind since its last log line."""

    timer: asyncio.TimerHandle
    level: int
    clients: Counter[str] = field(default_factory=Counter)
    number: int = 0


class Refusals:
    """Counts refusals by kind. The first refusal of a kind is logged at once. Those that follow within the interval are
    logged in one line at its end."""

    def __init__(self, interval: float = INTERVAL) -> None:
        """`interval` in seconds."""
        self._interval = interval
        self._unreported: dict[str, _Unreported] = {}
        self.counts: Counter[str] = Counter()
        """Refusals by kind since the process started."""

    def count(self, kind: str, client: str, detail: str = "", level: int = logging.WARNING) -> None:
        """Count one refusal. `kind` is one of a few constants, logged as "refused KIND". `detail` may be text that a
        stranger sent: it is logged quoted, and only with the first refusal of a kind. `level` of the
        log lines: a warning where the operator may have to change something.
        """
        self.counts[kind] += 1
        unreported = self._unreported.get(kind)
        if unreported is None:
            shown = f" ({detail[:100]!r})" if detail else ""
            logger.log(level, "refused %s from %s%s; more are logged once a minute", kind, client, shown)
            self._unreported[kind] = _Unreported(self._report_later(kind), level)
            return
        unreported.number += 1
        if client in unreported.clients or len(unreported.clients) < MAX_CLIENTS:
            unreported.clients[client] += 1

    def close(self) -> None:
        """Log the refusals since the last lines, and stop."""
        for kind, unreported in self._unreported.items():
            unreported.timer.cancel()
            _log(kind, unreported)
        self._unreported.clear()

    def _report(self, kind: str) -> None:
        unreported = self._unreported.pop(kind)
        if unreported.number:
            _log(kind, unreported)
            self._unreported[kind] = _Unreported(self._report_later(kind), unreported.level)

    def _report_later(self, kind: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._interval, self._report, kind)


def _log(kind: str, unreported: _Unreported) -> None:
    if unreported.number:
        [(client, number)] = unreported.clients.most_common(1)
        text = "refused %s %d times, %d of them from %s"
        logger.log(unreported.level, text, kind, unreported.number, number, client)
