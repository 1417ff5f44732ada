"""The query plans that PostgreSQL makes for the statements that the code sends."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
import pytest

from api.database.pool import Pool, Transaction
from api.database.regions import Regions


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement as it was sent, and its arguments."""

    text: str
    arguments: tuple[Any, ...]


Sender: TypeAlias = type[Pool] | type[Regions] | type[Transaction]


BACKGROUND = {
    *("lapsing", "relay", "retention", "webhooks", "event log", "stock publisher", "recorder", "activity feed"),
    "product feed",
}
"""The tasks of a server that send statements by themselves, at any moment."""


def record(monkeypatch: pytest.MonkeyPatch, *methods: tuple[Sender, str]) -> list[Statement]:
    """Every statement that this process sends through one of these methods from now on, in order, but for those of the
    tasks of BACKGROUND."""
    sent: list[Statement] = []

    def record_method(sender: Sender, name: str) -> None:
        original = getattr(sender, name)

        async def recorded(self: Pool | Regions | Transaction, text: str, *arguments: Any, **more: Any) -> Any:
            task = asyncio.current_task()
            if task is None or task.get_name() not in BACKGROUND:
                sent.append(Statement(text, arguments))
            return await original(self, text, *arguments, **more)

        monkeypatch.setattr(sender, name, recorded)

    for sender, name in methods:
        record_method(sender, name)
    return sent


@dataclass(frozen=True, slots=True)
class Plan:
    """What a plan reads: through which indexes, and which tables from end to end. `sorts`: the plan sorts rows after
    it has read them, so that a page costs as much as the whole list."""

    indexes: set[str]
    scanned: set[str]
    sorts: bool


async def plans(pool: Pool, statement: Statement) -> Sequence[Plan]:
    """Two plans: for the statement's own arguments, and the generic plan, which is used after a few executions."""
    connection = await asyncpg.connect(pool.endpoint.url)
    try:
        own = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement.text}", *statement.arguments)
        await connection.execute(f"PREPARE watched AS {statement.text}")
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        nulls = f"({', '.join('NULL' for _ in statement.arguments)})" if statement.arguments else ""
        generic = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE watched{nulls}")
    finally:
        await connection.close()
    return [_plan(explained) for explained in (own, generic)]


def _plan(explained: str) -> Plan:
    nodes = list(_nodes(json.loads(explained)[0]["Plan"]))
    return Plan(
        indexes={node["Index Name"] for node in nodes if "Index Name" in node},
        scanned={node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"},
        sorts=any("Sort" in node["Node Type"] for node in nodes),
    )


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", []):
        yield from _nodes(inner)
