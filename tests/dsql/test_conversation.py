"""The stand-in's answers, message by message, to drivers that use the protocol in other ways than asyncpg."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from tests.dsql import wire
from tests.dsql.certificates import HOST, Authority
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("table")


@dataclass(frozen=True)
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *messages: bytes) -> list[tuple[bytes, bytes]]:
        """Send messages, and return every answer up to ReadyForQuery."""
        self.writer.write(b"".join(messages))
        answers: list[tuple[bytes, bytes]] = []
        async with asyncio.timeout(PATIENCE):
            while not answers or answers[-1][0] != b"Z":
                answers.append(await wire.read_message(self.reader))
        return answers

    async def kinds(self, *messages: bytes) -> bytes:
        return b"".join(kind for kind, _ in await self.send(*messages))


@pytest.fixture
async def client(home: StandIn, authority: Authority, sign: Callable[..., str]) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", home.port)
    writer.write((8).to_bytes(4) + wire.SSL_REQUEST.to_bytes(4))
    assert await reader.readexactly(1) == b"S"
    await writer.start_tls(ssl.create_default_context(cafile=authority.file), server_hostname=HOST)
    parameters = b"user\0admin\0database\0postgres\0\0"
    writer.write(wire.message(b"", wire.PROTOCOL.to_bytes(4), parameters))
    assert await wire.read_message(reader) == (b"R", (3).to_bytes(4))
    client = Client(reader, writer)
    assert (await client.send(wire.message(b"p", wire.string(sign("admin")))))[-1] == (b"Z", b"I")
    yield client
    writer.transport.abort()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


def extended(statement: str) -> bytes:
    """The messages of one unnamed statement, sent together as by most drivers."""
    return (
        wire.message(b"P", b"\0", wire.string(statement), bytes(2))
        + wire.message(b"B", b"\0\0", bytes(6))
        + wire.message(b"D", b"P\0")
        + wire.message(b"E", b"\0", bytes(4))
    )


async def test_a_statement_is_prepared_described_and_run_in_one_flight(client: Client) -> None:
    assert await client.kinds(extended("SELECT * FROM t"), wire.SYNC) == b"12TDDCZ"
    assert await client.kinds(extended("UPDATE t SET value = 1"), wire.SYNC) == b"12nCZ"


async def test_statements_before_one_sync_are_one_transaction(client: Client) -> None:
    failing = (extended("INSERT INTO t VALUES (3, 0)"), extended("INSERT INTO t VALUES (1, 0)"), wire.SYNC)
    assert await client.kinds(*failing) == b"12nC1EZ"
    assert await client.kinds(wire.query("SELECT FROM t WHERE id = 3")) == b"TCZ"


async def test_begin_and_commit_come_by_either_protocol(client: Client) -> None:
    assert (await client.send(extended("BEGIN"), wire.SYNC))[-1] == (b"Z", b"T")
    assert await client.kinds(extended("DELETE FROM t"), wire.SYNC) == b"12nCZ"
    assert (await client.send(wire.query("SELECT 1/0")))[-1] == (b"Z", b"E")
    answers = await client.send(extended("COMMIT"), wire.SYNC)
    assert answers[-2:] == [(b"C", b"ROLLBACK\0"), (b"Z", b"I")]
    assert await client.kinds(wire.query("SELECT * FROM t")) == b"TDDCZ"


async def test_a_write_that_was_not_committed_is_not_answered(client: Client, home: StandIn) -> None:
    home.conflicts = 2
    assert await client.kinds(wire.query("SELECT 1; UPDATE t SET value = 1 RETURNING id")) == b"TDCEZ"
    assert await client.kinds(extended("UPDATE t SET value = 1 RETURNING id"), wire.SYNC) == b"1EZ"


async def test_an_empty_statement_is_answered_as_empty(client: Client) -> None:
    assert await client.kinds(wire.query(" ; -- nothing")) == b"IZ"
    assert await client.kinds(extended("/* nothing */"), wire.SYNC) == b"12IZ"


async def test_begin_and_commit_out_of_place_are_answered_with_a_warning(client: Client) -> None:
    assert await client.kinds(wire.query("COMMIT")) == b"NCZ"
    assert await client.kinds(wire.query("BEGIN; BEGIN")) == b"CNCZ"
    assert await client.kinds(wire.query("ROLLBACK")) == b"CZ"


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ("SELEC 1", ("42601", 'syntax error at or near "SELEC"')),
        ("SELECT 1 FROM t FOR SHARE", ("0A000", "FOR SHARE not supported")),
        ("SELECT 1 FROM t FOR UPDATE SKIP LOCKED", ("0A000", "SKIP LOCKED not supported")),
        ("SELECT pg_advisory_unlock_all()", ("0A000", "function pg_advisory_unlock_all not supported")),
        (
            "WITH gone AS (DELETE FROM t RETURNING id) SELECT * FROM gone",
            ("0A000", "data-modifying statements in WITH"),
        ),
        ("CREATE TABLE a (names text[])", ("0A000", "datatype text[] not supported")),
        ("CREATE TABLE a (id integer) PARTITION BY HASH (id)", ("0A000", "PARTITION not supported for CREATE TABLE")),
        (
            "ALTER TABLE t ADD COLUMN a integer NOT NULL",
            ("0A000", "ALTER TABLE ADD COLUMN with constraint not supported"),
        ),
        ("ALTER TABLE t ADD COLUMN a integer DEFAULT 1", ("0A000", "ALTER TABLE ADD COLUMN with constraint")),
        ("ALTER TABLE t ALTER COLUMN value SET NOT NULL", ("0A000", "unsupported ALTER TABLE statement: SetNotNull")),
        ("ALTER TABLE t ADD CHECK (value > 0)", ("0A000", "ALTER TABLE ADD CONSTRAINT without NOT VALID")),
        ("CREATE INDEX ASYNC i ON t (value DESC)", ("0A000", "specifying sort order not supported for index keys")),
        ("CREATE INDEX CONCURRENTLY i ON t (value)", ("0A000", "CONCURRENTLY not supported for CREATE INDEX")),
        ("SET statement_timeout = 1", ("0A000", 'setting configuration parameter "statement_timeout" not supported')),
        ("RELEASE SAVEPOINT sp", ("0A000", "unsupported transaction statement: RELEASE")),
        ("DO 'BEGIN END'", ("0A000", "unsupported statement: Do")),
        ("CREATE DATABASE shop", ("0A000", "unsupported statement: Createdb")),
        ("LOCK TABLE t", ("0A000", "unsupported statement: Lock")),
    ],
)
async def test_a_statement_is_refused(client: Client, statement: str, error: tuple[str, str]) -> None:
    kind, body = (await client.send(wire.query(statement)))[0]
    fields = wire.error_fields(body)

    assert kind == b"E"
    assert fields[b"C"] == error[0]
    assert fields[b"M"].startswith(error[1])


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE INDEX ASYNC ON t (value NULLS FIRST) INCLUDE (id)",
        "ALTER TABLE t ADD CONSTRAINT c CHECK (value >= 0) NOT VALID",
        "ALTER TABLE t DROP COLUMN value",
        "CREATE TABLE a (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), more jsonb, CHECK (more IS NOT NULL))",
        "INSERT INTO t VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET value = 1",
        "WITH few AS (SELECT * FROM t) SELECT * FROM few WHERE id = ANY (ARRAY[1, 2])",
        "GRANT SELECT ON t TO PUBLIC",
        "AWS IAM GRANT app TO 'arn:aws:iam::123456789012:role/app'",
        "BEGIN READ ONLY",
        "SET search_path = public",
        "EXPLAIN SELECT * FROM t",
        "ANALYZE t",
    ],
)
async def test_a_statement_is_accepted(client: Client, statement: str) -> None:
    assert b"E" not in await client.kinds(wire.query(statement))
