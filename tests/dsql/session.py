"""A client's session: its statements held against Aurora DSQL's rules, and run so that no writer waits for another.

PostgreSQL locks what it writes until the transaction ends. So every statement runs after a savepoint and is undone
right away, which lets its locks go and keeps the snapshot; what it answered is passed on. Writes are done again
before each later statement, which has to see them, and at COMMIT, where PostgreSQL's own errors tell that a rival has
committed first. All of that goes to PostgreSQL in one piece, so that locks last no longer than it takes to run.

Two things differ from a real cluster: a statement that touches a row which a rival has changed since the snapshot
answers 40001 at once and not at COMMIT, and a statement whose rows differ from one time to the next (a random default
in RETURNING) cannot be run: it is answered with an error of the stand-in.
"""

import asyncio
import contextlib
from dataclasses import dataclass

from tests.dsql import wire
from tests.dsql.backend import Answer, Backend
from tests.dsql.catalogue import Catalogue
from tests.dsql.dialect import Kind, Statement, read_script
from tests.dsql.endpoint import Endpoint
from tests.dsql.transaction import ABORTED, CONFLICT, SCHEMA_CHANGED, Transaction, Write
from tests.dsql.wire import Refusal, Refused

_BEGIN = wire.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT before")
_UNDO = wire.query("ROLLBACK TO SAVEPOINT before")
_COMMIT = wire.query("COMMIT")
_ROLLBACK = wire.query("ROLLBACK")

_CONFLICTS = {"40001", "40P01"}
_RIVAL_KEY = "23505"  # a key that was free when the statement first ran

_NOT_REPEATABLE = Refusal("XX000", "the stand-in cannot run this transaction: it answers differently the second time")
_IN_TRANSACTION = Refusal("25001", "there is already a transaction in progress", severity="WARNING")
_NO_TRANSACTION = Refusal("25P01", "there is no transaction in progress", severity="WARNING")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement that the client has prepared. `name` is PostgreSQL's, and never used twice."""

    statement: Statement | None
    name: str
    description: bytes


@dataclass(slots=True)
class Portal:
    prepared: Prepared
    bind: wire.Bind
    describe: bool = False


class Session:
    def __init__(
        self,
        endpoint: Endpoint,
        catalogue: Catalogue,
        backend: Backend,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._endpoint = endpoint
        self._catalogue = catalogue
        self._backend = backend
        self._reader = reader
        self._writer = writer
        self._transaction: Transaction | None = None
        self._schema_version = catalogue.version
        self._prepared: dict[str, Prepared] = {}
        self._portals: dict[str, Portal] = {}
        self._known: dict[tuple[str, bytes, int], Prepared] = {}
        self._answer = bytearray()
        self._implicit_from = 0

    async def run(self) -> None:
        """Answer the client until it goes away. Raises ConnectionError."""
        skipping = False
        while True:
            kind, body = await wire.read_message(self._reader)
            await self._endpoint.flowing()
            if kind == b"X":
                return
            try:
                if kind == b"Q":
                    await self._query(wire.take_string(body)[0])
                elif kind == b"S":
                    if not skipping:
                        await self._end_implicit()
                    skipping = False
                elif kind != b"H" and not skipping:
                    await self._extended(kind, body)
            except Refused as refused:
                await self._fail(refused)
                skipping = kind not in (b"Q", b"S")
            if kind in (b"Q", b"S"):
                self._answer += wire.ready(self._status)
            if kind in (b"Q", b"S", b"H") or skipping:
                await self._flush()

    @property
    def _status(self) -> bytes:
        if self._transaction is None:
            return b"I"
        return b"E" if self._transaction.aborted else b"T"

    async def _flush(self) -> None:
        await self._endpoint.flowing()
        self._writer.write(bytes(self._answer))
        self._answer.clear()
        await self._writer.drain()

    async def _fail(self, refused: Refused) -> None:
        self._answer += refused.response
        transaction = self._transaction
        if transaction is not None and transaction.explicit:
            transaction.aborted = True
        elif transaction is not None:
            await self._rollback()

    # The simple protocol

    async def _query(self, text: str) -> None:
        statements = read_script(text)
        if not statements:
            self._answer += wire.EMPTY_QUERY
        for statement in statements:
            if not await self._control(statement):
                self._answer += await self._run(statement, wire.query(statement.text))
        await self._end_implicit()

    # The extended protocol

    async def _extended(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            await self._parse(body)
        elif kind == b"B":
            bind = wire.Bind.decode(body)
            self._portals[bind.portal] = Portal(self._find(bind.statement), bind)
            if self._portals[bind.portal].prepared.name == "":
                self._answer += wire.BIND_COMPLETE
        elif kind == b"D":
            name = wire.take_string(body, 1)[0]
            if body[:1] == b"S":
                self._answer += self._find(name).description
            else:
                self._portals[name].describe = True
        elif kind == b"E":
            await self._execute(self._portals[wire.take_string(body)[0]], body[-4:])
        elif kind == b"C":
            if body[:1] == b"S":
                self._prepared.pop(wire.take_string(body, 1)[0], None)
            self._answer += wire.CLOSE_COMPLETE
        else:
            raise Refused(Refusal("08P01", f"the stand-in does not know the message {kind!r}"))

    def _find(self, name: str) -> Prepared:
        if name not in self._prepared:
            raise Refused(Refusal("26000", f'prepared statement "{name}" does not exist'))
        return self._prepared[name]

    async def _parse(self, body: bytes) -> None:
        name, start = wire.take_string(body)
        text, start = wire.take_string(body, start)
        statements = read_script(text)
        if len(statements) > 1:
            raise Refused(Refusal("42601", "cannot insert multiple commands into a prepared statement"))
        statement = statements[0] if statements else None
        self._admit(statement)
        if statement is None or statement.kind in (Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK):
            self._prepared[name] = Prepared(statement, "", wire.NO_PARAMETERS + wire.NO_DATA)
        else:
            self._prepared[name] = await self._prepare(statement, body[start:])
        self._answer += wire.PARSE_COMPLETE

    async def _prepare(self, statement: Statement, types: bytes) -> Prepared:
        """Prepare a statement in PostgreSQL, where it stays: a write is done again when the client has long closed it,
        and a client that prepares it again finds it there."""
        key = (statement.text, types, self._catalogue.version)
        if key not in self._known:
            if statement.needs_sys:
                await self._catalogue.install()
            name = f"s{len(self._known)}"
            parse = wire.message(b"P", wire.string(name), wire.string(statement.text), types)
            describe = wire.message(b"D", b"S", wire.string(name))
            after_ddl = self._transaction is not None and self._transaction.ddl
            answer = await self._undone(parse + describe + wire.SYNC, after_writes=after_ddl)
            self._known[key] = Prepared(statement, name, answer.raw[len(wire.PARSE_COMPLETE) :])
        return self._known[key]

    async def _execute(self, portal: Portal, limit: bytes) -> None:
        statement = portal.prepared.statement
        if statement is None:
            self._answer += wire.EMPTY_QUERY
        elif not await self._control(statement):
            bind = wire.message(b"B", b"\0", wire.string(portal.prepared.name), portal.bind.rest)
            describe = wire.message(b"D", b"P\0") if portal.describe else b""
            # All rows of a write: with a limit PostgreSQL gives no tag, which says how many rows have changed.
            execute = wire.message(b"E", b"\0", limit if statement.kind is Kind.READ else bytes(4))
            self._answer += await self._run(statement, bind + describe + execute + wire.SYNC, portal.bind)

    # Statements

    def _admit(self, statement: Statement | None) -> None:
        """Raises Refused for what cannot even be parsed here and now."""
        ends = statement is not None and statement.kind in (Kind.COMMIT, Kind.ROLLBACK)
        if self._transaction is not None and self._transaction.aborted and not ends:
            raise Refused(ABORTED)
        if statement is not None and statement.refusal is not None:
            raise Refused(statement.refusal)

    async def _run(self, statement: Statement, request: bytes, bind: wire.Bind | None = None) -> bytes:
        """Run a statement that is none of transactions, and return what the client is to be sent."""
        self._admit(statement)
        self._endpoint.statements += 1
        if self._endpoint.statement_latency:
            await asyncio.sleep(self._endpoint.statement_latency)
        if statement.needs_sys:
            await self._catalogue.install()
        if statement.job is not None:
            await self._catalogue.finished(_job_id(statement.job, bind))
            self._schema_version = self._catalogue.version
        elif statement.names_tables:
            self._refuse_stale_schema()

        repeated = statement.kind is not Kind.READ or not self._catalogue.functions.isdisjoint(statement.calls)
        if self._transaction is None:
            if not repeated or statement.kind is Kind.SETTING:
                return _passed_on(statement, await self._undone(request))
            self._transaction = Transaction(explicit=False)
            self._implicit_from = len(self._answer)
        transaction = self._transaction
        transaction.admit(statement.kind, self._endpoint.transaction_age)
        async with self._catalogue.changing if statement.kind is Kind.DDL else contextlib.nullcontext():
            answer = await self._undone(request)
        if repeated:
            transaction.record(Write(statement, request, answer))
        return _passed_on(statement, answer)

    def _refuse_stale_schema(self) -> None:
        if self._schema_version != self._catalogue.version:
            self._schema_version = self._catalogue.version
            raise Refused(SCHEMA_CHANGED)

    async def _undone(self, request: bytes, *, after_writes: bool = True) -> Answer:
        """Run one request in the transaction, if there is one, after its writes, and undo it all."""
        transaction = self._transaction
        if transaction is None:
            [answer] = await self._backend.exchange(request)
            again: list[Answer] = []
        else:
            first = [] if transaction.begun else [_BEGIN]
            transaction.begun = True
            writes = [write.request for write in transaction.writes] if after_writes else []
            answers = await self._backend.exchange(*first, *writes, request, _UNDO)
            again, answer = answers[len(first) : -2], answers[-2]
        for result in (*again, answer):
            if result.error is not None:
                raise Refused(CONFLICT if result.sqlstate in _CONFLICTS else result.error_response)
        return answer

    # Transactions

    async def _control(self, statement: Statement) -> bool:
        """Whether it was BEGIN, COMMIT or ROLLBACK; it has then been done."""
        transaction = self._transaction
        if statement.refusal is not None or statement.kind not in (Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK):
            return False
        if statement.kind is Kind.BEGIN:
            self._admit(statement)
            if transaction is not None and transaction.explicit:
                self._answer += _IN_TRANSACTION.encode(b"N")
            elif transaction is not None:
                transaction.explicit = True
            else:
                self._transaction = Transaction(explicit=True)
            self._answer += wire.complete("BEGIN")
        elif transaction is None:
            self._answer += _NO_TRANSACTION.encode(b"N") + wire.complete(statement.kind.name)
        elif statement.kind is Kind.COMMIT and not transaction.aborted:
            await self._commit()
            self._answer += wire.complete("COMMIT")
        else:
            await self._rollback()
            self._answer += wire.complete("ROLLBACK")
        return True

    async def _end_implicit(self) -> None:
        if self._transaction is None or self._transaction.explicit:
            return
        try:
            await self._commit()
        except Refused:
            del self._answer[self._implicit_from :]
            raise

    async def _rollback(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None and transaction.begun:
            await self._backend.exchange(_ROLLBACK)

    async def _commit(self) -> None:
        endpoint, transaction = self._endpoint, self._transaction
        assert transaction is not None
        endpoint.commit_arrived.set()
        if endpoint.take("hang_at_commit"):
            while await self._reader.read(65536):
                pass
            raise ConnectionResetError("the client has given up a COMMIT that hangs")
        if endpoint.take("cut_before_commit"):
            raise ConnectionResetError("cut before COMMIT")
        if endpoint.commit_latency:
            await asyncio.sleep(endpoint.commit_latency)
        if not transaction.writes:
            await self._rollback()
        else:
            try:
                await self._write(transaction)
            finally:
                self._transaction = None
            endpoint.commits += 1
        if endpoint.take("cut_after_commit"):
            raise ConnectionResetError("cut after COMMIT")

    async def _write(self, transaction: Transaction) -> None:
        """Do the writes again and for good. Raises Refused, with nothing written."""
        catalogue = self._catalogue
        requests = [write.request for write in transaction.writes]
        async with catalogue.changing if transaction.ddl else contextlib.nullcontext():
            try:
                if self._endpoint.take("conflicts"):
                    raise Refused(CONFLICT)
                self._refuse_stale_schema()
            except Refused:
                await self._rollback()
                raise
            *answers, _ = await self._backend.exchange(*requests, _COMMIT)
            for answer in answers:
                if answer.error is not None:
                    lost = answer.sqlstate in _CONFLICTS or answer.sqlstate == _RIVAL_KEY
                    raise Refused(CONFLICT if lost else answer.error_response)
            if transaction.ddl:
                catalogue.version += 1
                self._schema_version = catalogue.version
        for write, answer in zip(transaction.writes, answers, strict=True):
            if write.statement.creates_function is not None:
                catalogue.functions.add(write.statement.creates_function)
            if write.statement.creates_index:
                for job_id in wire.first_values(answer.raw):
                    catalogue.submit(job_id.decode())
            if answer.raw != write.answer.raw:
                raise Refused(_NOT_REPEATABLE)


def _passed_on(statement: Statement, answer: Answer) -> bytes:
    return answer.raw if statement.tag is None else wire.with_tag(answer.raw, statement.tag)


def _job_id(job: str | int, bind: wire.Bind | None) -> str:
    if isinstance(job, str):
        return job
    value = None if bind is None else bind.values()[job - 1]
    return "" if value is None else value.decode()
