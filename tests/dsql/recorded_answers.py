"""Answers that a real cluster gave, on 15 and 18 September 2026 (server_version 16.15)."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Error:
    sqlstate: str
    message: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """Statements of one session in order, each with its command tag or its error. `before` are statements that ran
    earlier, and made what this session found."""

    name: str
    steps: tuple[tuple[str, str | Error], ...]
    before: tuple[str, ...] = field(default=())


def one(name: str, statement: str, answer: str | Error, *before: str) -> Conversation:
    return Conversation(name, ((statement, answer),), before)


def unsupported(message: str) -> Error:
    return Error("0A000", message)


_TABLE = "CREATE TABLE t (id integer PRIMARY KEY, value integer)"
_BULK = "CREATE TABLE bulk (id integer PRIMARY KEY)"
_ABORTED = Error("25P02", "current transaction is aborted, commands ignored until end of transaction block")
_TOO_MANY = Error("54000", "transaction row limit exceeded")
_TRUNCATE = unsupported("unsupported statement: Truncate")

CONFLICT = Error("40001", "change conflicts with another transaction (OC000)")

CONVERSATIONS = (
    one("truncate", "TRUNCATE TABLE t", _TRUNCATE, _TABLE),
    one("extension", "CREATE EXTENSION IF NOT EXISTS pgcrypto", unsupported("unsupported statement: CreateExtension")),
    one(
        "trigger",
        "CREATE TRIGGER trg AFTER INSERT ON t EXECUTE FUNCTION fn()",
        unsupported("CREATE TRIGGER not supported"),
        _TABLE,
    ),
    one(
        "temporary table",
        "CREATE TEMPORARY TABLE tmp (id int)",
        unsupported("TEMPORARY or TEMP table not supported for CREATE TABLE"),
    ),
    one(
        "unlogged table",
        "CREATE UNLOGGED TABLE u (id int)",
        unsupported("UNLOGGED table not supported for CREATE TABLE"),
    ),
    one("serial", "CREATE TABLE s (id serial PRIMARY KEY)", Error("42704", 'type "serial" does not exist')),
    one(
        "materialized view",
        "CREATE MATERIALIZED VIEW mv AS SELECT 1 AS x",
        unsupported("unsupported statement: CreateTableAs"),
    ),
    one(
        "create table as",
        "CREATE TABLE ctas AS SELECT 1 AS x",
        unsupported("unsupported statement: CreateTableAs"),
    ),
    one("enum", "CREATE TYPE mood AS ENUM ('sad', 'ok')", unsupported("CREATE TYPE not supported")),
    one("composite type", "CREATE TYPE pair AS (a int, b int)", unsupported("unsupported statement: CompositeType")),
    one("vacuum", "VACUUM t", unsupported("unsupported VACUUM statement"), _TABLE),
    one("listen", "LISTEN chan", unsupported("unsupported statement: Listen")),
    one("notify", "NOTIFY chan", unsupported("unsupported statement: Notify")),
    one("unlisten", "UNLISTEN chan", unsupported("unsupported statement: Unlisten")),
    one("alter system", "ALTER SYSTEM SET work_mem = '4MB'", unsupported("unsupported statement: AlterSystem")),
    one("sql function", "CREATE FUNCTION fn() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$", "CREATE FUNCTION"),
    one(
        "plpgsql function",
        "CREATE FUNCTION fn2() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1; END $$",
        unsupported("CREATE FUNCTION with language plpgsql not supported"),
    ),
    one("savepoint", "SAVEPOINT sp", unsupported("unsupported transaction statement: SAVEPOINT")),
    one(
        "rollback to savepoint",
        "ROLLBACK TO SAVEPOINT sp",
        unsupported("unsupported transaction statement: ROLLBACK TO"),
    ),
    Conversation(
        "two ddl statements in a transaction",
        (
            ("BEGIN", "BEGIN"),
            ("CREATE TABLE a (id int)", "CREATE TABLE"),
            ("CREATE TABLE b (id int)", unsupported("multiple ddl statements not supported in a transaction")),
        ),
    ),
    Conversation(
        "ddl and then dml",
        (
            ("BEGIN", "BEGIN"),
            ("CREATE TABLE c (id int)", "CREATE TABLE"),
            ("INSERT INTO c (id) VALUES (1)", unsupported("ddl and dml are not supported in the same transaction")),
        ),
    ),
    Conversation(
        "one row too many",
        (
            ("BEGIN", "BEGIN"),
            ("INSERT INTO bulk SELECT generate_series(1, 3001)", _TOO_MANY),
            ("SELECT 1", _ABORTED),
        ),
        (_BULK,),
    ),
    Conversation(
        "as many rows as there may be",
        (
            ("BEGIN", "BEGIN"),
            ("INSERT INTO bulk SELECT generate_series(1, 3000)", "INSERT 0 3000"),
            ("SELECT 1", "SELECT 1"),
            ("ROLLBACK", "ROLLBACK"),
        ),
        (_BULK,),
    ),
    one("one row too many alone", "INSERT INTO bulk SELECT generate_series(1, 3001)", _TOO_MANY, _BULK),
    Conversation(
        "set transaction read only",
        (
            ("BEGIN", "BEGIN"),
            (
                "SET TRANSACTION READ ONLY",
                unsupported('setting configuration parameter "TRANSACTION" not supported'),
            ),
            ("SELECT 1", _ABORTED),
            ("COMMIT", "ROLLBACK"),
        ),
    ),
    Conversation(
        "a refusal aborts the transaction",
        (
            ("BEGIN", "BEGIN"),
            ("TRUNCATE t", _TRUNCATE),
            ("TRUNCATE t", _ABORTED),
            ("ROLLBACK", "ROLLBACK"),
            ("SELECT 1", "SELECT 1"),
        ),
        (_TABLE,),
    ),
    Conversation(
        "a refusal outside of a transaction aborts nothing",
        (("TRUNCATE t", _TRUNCATE), ("SELECT 1", "SELECT 1")),
        (_TABLE,),
    ),
    one(
        "serializable",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        unsupported("Unsupported isolation level: SERIALIZABLE"),
    ),
    Conversation(
        "repeatable read",
        (("BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN"), ("SELECT 1", "SELECT 1"), ("COMMIT", "COMMIT")),
    ),
    one(
        "default isolation",
        "SET default_transaction_isolation = 'repeatable read'",
        unsupported('setting configuration parameter "default_transaction_isolation" not supported'),
    ),
    one(
        "synchronous index",
        "CREATE INDEX idx ON t (value)",
        unsupported("unsupported mode. please use CREATE INDEX ASYNC."),
        _TABLE,
    ),
    one("asynchronous index", "CREATE INDEX ASYNC idx ON t (value)", "CREATE INDEX", _TABLE),
    one("jobs", "SELECT * FROM sys.jobs", "SELECT 0"),
)

JOB_ID = r"[a-z2-7]{26}"
"""The answer to CREATE INDEX ASYNC, in its one row and its one column `job_id`."""

JOBS_COLUMNS = (
    "job_id",
    "status",
    "details",
    "job_type",
    "class_id",
    "object_id",
    "object_name",
    "start_time",
    "update_time",
)

VALUES = {
    "SHOW server_version": "16.15",
    "SELECT version()": "PostgreSQL 16",
    "SELECT current_database()": "postgres",
    "SHOW timezone": "UTC",
}
