"""The stand-in answers as a real cluster has answered, in both of PostgreSQL's protocols."""

import re
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg
import pytest

from tests.dsql.conftest import Connect, Connection
from tests.dsql.recorded_answers import (
    CONFLICT,
    CONVERSATIONS,
    JOB_ID,
    JOBS_COLUMNS,
    VALUES,
    Conversation,
    Error,
)
from tests.dsql.stand_in import StandIn

Ask: TypeAlias = Callable[[Connection, str], Awaitable[str | Error]]


async def simple(connection: Connection, statement: str) -> str | Error:
    try:
        return await connection.execute(statement)
    except asyncpg.PostgresError as error:
        return Error(error.sqlstate or "", str(error))


async def extended(connection: Connection, statement: str) -> str | Error:
    try:
        prepared = await connection.prepare(statement)
        await prepared.fetch()
        return str(prepared.get_statusmsg())
    except asyncpg.PostgresError as error:
        return Error(error.sqlstate or "", str(error))


@pytest.mark.parametrize("ask", [simple, extended])
@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda conversation: conversation.name)
async def test_a_conversation_is_answered_as_recorded(
    home: StandIn, connect: Connect, cluster_url: str, conversation: Conversation, ask: Ask
) -> None:
    plain = await asyncpg.connect(cluster_url)
    for statement in conversation.before:
        await plain.execute(statement)
    await plain.close()

    async with connect(home) as connection:
        answers = [await ask(connection, statement) for statement, _ in conversation.steps]

    assert answers == [answer for _, answer in conversation.steps]


@pytest.mark.usefixtures("table")
async def test_an_index_is_answered_with_the_id_of_its_job(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        rows = await connection.fetch("CREATE INDEX ASYNC idx ON t (value)")

    assert [list(row.keys()) for row in rows] == [["job_id"]]
    assert re.fullmatch(JOB_ID, rows[0]["job_id"])


async def test_jobs_are_listed_with_these_columns(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        prepared = await connection.prepare("SELECT * FROM sys.jobs")
        assert tuple(attribute.name for attribute in prepared.get_attributes()) == JOBS_COLUMNS


@pytest.mark.parametrize(("statement", "value"), VALUES.items())
async def test_a_cluster_reports_its_version_and_database(
    home: StandIn, connect: Connect, statement: str, value: str
) -> None:
    async with connect(home) as connection:
        assert await connection.fetchval(statement) == value


@pytest.mark.usefixtures("table")
async def test_of_two_writers_of_a_row_neither_waits_and_the_later_commit_loses(
    home: StandIn, connect: Connect
) -> None:
    async with connect(home) as first, connect(home) as second:
        await first.execute("BEGIN")
        await second.execute("BEGIN")
        assert await first.execute("UPDATE t SET value = 1 WHERE id = 1") == "UPDATE 1"
        assert await second.execute("UPDATE t SET value = 2 WHERE id = 1") == "UPDATE 1"
        assert await first.execute("COMMIT") == "COMMIT"
        assert await simple(second, "COMMIT") == CONFLICT
        assert await second.fetchval("SELECT value FROM t WHERE id = 1") == 1


@pytest.mark.usefixtures("table")
async def test_of_a_locked_row_and_its_writer_the_later_commit_loses(home: StandIn, connect: Connect) -> None:
    async with connect(home) as reader, connect(home) as writer:
        await reader.execute("BEGIN")
        assert await reader.fetchval("SELECT value FROM t WHERE id = 1 FOR UPDATE") == 0
        await writer.execute("BEGIN")
        assert await writer.execute("UPDATE t SET value = 2 WHERE id = 1") == "UPDATE 1"
        assert await writer.execute("COMMIT") == "COMMIT"
        assert await simple(reader, "COMMIT") == CONFLICT


@pytest.mark.usefixtures("table")
async def test_writers_of_different_rows_both_commit(home: StandIn, connect: Connect) -> None:
    async with connect(home) as first, connect(home) as second:
        for row, connection in enumerate((first, second), start=1):
            await connection.execute("BEGIN")
            await connection.execute("UPDATE t SET value = 7 WHERE id = $1", row)
        assert await first.execute("COMMIT") == "COMMIT"
        assert await second.execute("COMMIT") == "COMMIT"
        assert await first.fetchval("SELECT array_agg(value) FROM t") == [7, 7]
