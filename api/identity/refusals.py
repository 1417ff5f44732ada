"""Refusals: what strangers send in vain, counted, and logged once a minute whatever they send."""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass, field

logger = logging.getLogger("dropzero.refusals")

INTERVAL = 60.0
"""Seconds between two lines about refusals of one kind."""

MAX_CLIENTS = 1_000
"""Clients counted by name within one interval."""


@dataclass(slots=True)
class _Since:
    """What was refused since the last line about one kind."""

    timer: asyncio.TimerHandle
    clients: Counter[str] = field(default_factory=Counter)
    number: int = 0


class Refusals:
    """Counts refusals by kind. The first of a kind is logged at once, and those that follow within INTERVAL in one
    line at its end."""

    def __init__(self, interval: float = INTERVAL) -> None:
        """`interval` in seconds."""
        self._interval = interval
        self._since: dict[str, _Since] = {}
        self.counts: Counter[str] = Counter()
        """Refusals by kind since the process started."""

    def count(self, kind: str, client: str, detail: str = "") -> None:
        """Count one refusal. `kind` is one of a few constants and reads as "refused KIND"; `detail`, which may be a
        stranger's text, is shown quoted and only with the first of a kind."""
        self.counts[kind] += 1
        since = self._since.get(kind)
        if since is None:
            shown = f" ({detail[:100]!r})" if detail else ""
            logger.warning("refused %s from %s%s; more are logged once a minute", kind, client, shown)
            self._since[kind] = _Since(self._report_later(kind))
            return
        since.number += 1
        if client in since.clients or len(since.clients) < MAX_CLIENTS:
            since.clients[client] += 1

    def close(self) -> None:
        """Log what was counted since the last lines, and stop."""
        for kind, since in self._since.items():
            since.timer.cancel()
            _log(kind, since)
        self._since.clear()

    def _report(self, kind: str) -> None:
        since = self._since.pop(kind)
        if since.number:
            _log(kind, since)
            self._since[kind] = _Since(self._report_later(kind))

    def _report_later(self, kind: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._interval, self._report, kind)


def _log(kind: str, since: _Since) -> None:
    if since.number:
        [(client, number)] = since.clients.most_common(1)
        logger.warning("refused %s %d times, %d of them from %s", kind, since.number, number, client)
