"""The server processes of one database: each describes itself in a row, and sees the others."""

import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import metadata
from uuid import UUID, uuid4

import orjson

from api.database.database import Database
from api.database.pool import Record, Transaction
from api.database.regions import Regions

SEEN_WITHIN = 15
"""Seconds after its last description in which a process counts as running. It describes itself every 6 s at most."""

GONE_AFTER = timedelta(hours=1)
"""When the row of a process that did not delete it is deleted."""

MAX_PROCESSES = 200
"""Processes that are listed at most, the longest running first."""

_WRITE = """
INSERT INTO processes (id, name, version, started_at, seen_at, data)
VALUES ($1, $2, $3, now() - $4::interval, now(), $5)
ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at, data = excluded.data
RETURNING seen_at
"""
_READ = f"""
SELECT id, name, version, started_at, seen_at, data FROM processes
WHERE seen_at > now() - interval '{SEEN_WITHIN} seconds' ORDER BY started_at, id LIMIT {MAX_PROCESSES}
"""
_DELETE = "DELETE FROM processes WHERE id = $1"
_DELETE_OLD = "DELETE FROM processes WHERE seen_at < now() - $1::interval"


@dataclass(frozen=True, slots=True)
class ProcessRegion:
    """An endpoint as one process sees it. `latency_ms`: of a ping; None when it was not answered."""

    name: str
    away: bool
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """A process as it has described itself at `seen_at`. `name`: of its host, and its number there. `watchers`:
    subscribers to live stock. `waiting`: purchases that are not answered yet. `lateness_ms`: of its event loop."""

    id: UUID
    name: str
    version: str
    started_at: datetime
    seen_at: datetime
    watchers: int
    waiting: int
    lateness_ms: float
    regions: Sequence[ProcessRegion]


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a process knows of itself beyond its drops: the subscribers to live stock, and how late its event loop was
    at worst of late, in milliseconds."""

    watchers: Callable[[], int] = lambda: 0
    lateness_ms: Callable[[], float] = lambda: 0.0


NO_GAUGES = Gauges()
"""Of a process that has no watchers, and does not measure its event loop."""


class OwnProcess:
    """The row of this process."""

    def __init__(self, regions: Regions, waiting: Callable[[], int]) -> None:
        """`waiting` returns the purchases that are not answered yet."""
        self.id = uuid4()
        self.gauges = NO_GAUGES
        self._regions = regions
        self._waiting = waiting
        self._started = time.monotonic()
        self._name = f"{socket.gethostname()[:100]}:{os.getpid()}"
        self._version = metadata.version("dropzero")

    async def describe(self) -> bytes:
        """The JSON of this process now. Pings all endpoints; see Regions.health."""
        regions = [
            {"name": each.name, "away": self._regions.is_away(each.name), "latencyMs": each.latency_ms}
            for each in await self._regions.health()
        ]
        return orjson.dumps(
            {
                "watchers": self.gauges.watchers(),
                "waiting": self._waiting(),
                "latenessMs": round(self.gauges.lateness_ms(), 3),
                "regions": regions,
            }
        )

    async def write(self, transaction: Transaction, description: bytes) -> datetime:
        """Write the row, and return the moment by the database's clock. Raises Conflict, Unavailable."""
        age = timedelta(seconds=time.monotonic() - self._started)
        rows = await transaction.fetch(_WRITE, self.id, self._name, self._version, age, description.decode())
        seen_at: datetime = rows[0]["seen_at"]
        return seen_at

    async def delete(self, transaction: Transaction) -> None:
        """Delete the row. Raises Conflict, Unavailable."""
        await transaction.execute(_DELETE, self.id)


async def list_processes(database: Database) -> list[ServerProcess]:
    """The processes that run, the oldest first. Raises Conflict, Unavailable."""
    return [_process_of(row) for row in await database.fetch(_READ)]


async def delete_gone_processes(database: Database, gone_after: timedelta = GONE_AFTER) -> None:
    """Delete the rows of killed processes. Raises Conflict when another process was first, Unavailable, OutcomeUnknown,
    which does no harm."""
    async with database.begin() as transaction:
        if await transaction.execute(_DELETE_OLD, gone_after) != "DELETE 0":
            await transaction.commit()


def _process_of(row: Record) -> ServerProcess:
    data = orjson.loads(row["data"])
    return ServerProcess(
        row["id"],
        row["name"],
        row["version"],
        row["started_at"],
        row["seen_at"],
        data["watchers"],
        data["waiting"],
        data["latenessMs"],
        [ProcessRegion(each["name"], each["away"], each["latencyMs"]) for each in data["regions"]],
    )
