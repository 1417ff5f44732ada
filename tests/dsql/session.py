"""A session: checks statements against Aurora DSQL's rules, and runs them so that no writer waits for another.

PostgreSQL locks the rows that it writes until the transaction ends. So every statement runs after a savepoint and is
undone right away: that releases its locks and keeps the snapshot. The client gets its answer. Writes run again before
each later statement, which has to see them, and at COMMIT, where PostgreSQL's own errors show that another transaction
has committed first. All of that is sent to PostgreSQL at once, so that locks last no longer than the statements run.
Two rivals that lock rows in opposite order at that moment deadlock: a statement is then run again.

PostgreSQL also refuses to write a row that another transaction has changed since the snapshot, or to insert a key that
the snapshot does not show. Aurora DSQL goes on, and refuses the COMMIT. So the session then copies the table, as the
snapshot shows it, into a temporary table of the same name, and runs the statement there. From then on the transaction
answers what its snapshot says, and its COMMIT is a conflict. The copy is undone with each statement, so it locks
nothing. It needs no knowledge of what a statement does, so rows and counts are PostgreSQL's own.

Four things differ from a real cluster:

- A write through a function, of a table named with its schema, or of a large table, has no copy: it gets its 40001 (or
  23505 for a key) at the statement. A real cluster may abort at a statement, too.
- A COMMIT that is in a deadlock is a conflict, even if the other transaction does not commit.
- SELECT FOR UPDATE loses to another transaction's write, but that write does not lose to SELECT FOR UPDATE.
- A statement whose rows differ between two runs (a random default in RETURNING) gets an error of the stand-in.
"""

import asyncio
import contextlib

from tests.dsql import wire
from tests.dsql.backend import Answer, Backend
from tests.dsql.catalogue import Catalogue
from tests.dsql.dialect import Kind, Statement
from tests.dsql.metering import Change, Meter
from tests.dsql.private_copies import PrivateCopies
from tests.dsql.stand_in import StandIn
from tests.dsql.transaction import ABORTED, CONFLICT, INTERNAL_ERROR, SCHEMA_CHANGED, Transaction, Write
from tests.dsql.wire import Refusal, Refused

_BEGIN = wire.query("BEGIN ISOLATION LEVEL REPEATABLE READ; SAVEPOINT before")
_UNDO = wire.query("ROLLBACK TO SAVEPOINT before")
_COMMIT = wire.query("COMMIT")
_ROLLBACK = wire.query("ROLLBACK")

_DEADLOCK = "40P01"
_CONFLICTS = {"40001", _DEADLOCK}
_PERHAPS_CONFLICTS = _CONFLICTS | {"23505"}  # a key that exists, though perhaps not in the snapshot

_NOT_REPEATABLE = Refusal("0A000", "the stand-in cannot run this transaction: it answers differently the second time")
_IN_TRANSACTION = Refusal("25001", "there is already a transaction in progress", severity="WARNING")
_NO_TRANSACTION = Refusal("25P01", "there is no transaction in progress", severity="WARNING")


class NeverAnswered(Exception):
    """A fault: the client gets no answer, and its connection stays open."""


class Session:
    """Runs a client's statements in the database behind `backend`."""

    def __init__(self, endpoint: StandIn, catalogue: Catalogue, meter: Meter, backend: Backend) -> None:
        self._endpoint = endpoint
        self._catalogue = catalogue
        self._meter = meter
        self._backend = backend
        self._schema_version = catalogue.version
        self._copies = PrivateCopies()
        self._prepared: dict[tuple[str, bytes, int], tuple[str, bytes]] = {}
        self.transaction: Transaction | None = None

    @property
    def status(self) -> bytes:
        if self.transaction is None:
            return b"I"
        return b"E" if self.transaction.aborted else b"T"

    def admit(self, statement: Statement | None) -> None:
        """Raises Refused for a statement that may not be prepared now."""
        ends = statement is not None and statement.kind in (Kind.COMMIT, Kind.ROLLBACK)
        if self.transaction is not None and self.transaction.aborted and not ends:
            raise Refused(ABORTED)
        if statement is not None and statement.refusal is not None:
            raise Refused(statement.refusal)

    async def prepare(self, statement: Statement, types: bytes) -> tuple[str, bytes]:
        """Prepare a statement in PostgreSQL, and return its name there and the answer to Describe. Raises Refused.

        It stays prepared there: a write runs again after the client has closed its statement, and a client that
        prepares the same statement again gets the same one.
        """
        key = (statement.text, types, self._catalogue.version)
        if key not in self._prepared:
            if statement.needs_sys:
                await self._catalogue.install()
            name = f"s{len(self._prepared)}"
            parse = wire.message(b"P", wire.string(name), wire.string(statement.text), types)
            describe = wire.message(b"D", b"S", wire.string(name))
            after_ddl = self.transaction is not None and self.transaction.ddl
            answer = await self._undone(parse + describe + wire.SYNC, after_writes=after_ddl)
            self._prepared[key] = name, answer.raw[len(wire.PARSE_COMPLETE) :]
        return self._prepared[key]

    async def run(self, statement: Statement, request: bytes, bind: wire.Bind | None = None) -> bytes:
        """Run a statement that neither begins nor ends a transaction, and return the client's answer.

        Without BEGIN a write begins a transaction of its own, which `end_implicit` commits. Raises Refused.
        """
        self.admit(statement)
        self._endpoint.statements += 1
        if self._endpoint.take("internal_errors"):
            raise Refused(INTERNAL_ERROR)
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
        if self.transaction is None:
            if not repeated or statement.kind is Kind.SETTING:
                answer = await self._undone(request)
                if statement.kind is Kind.READ:
                    self._meter.count_read(answer.rows_size)
                return _passed_on(statement, answer)
            self.transaction = Transaction(explicit=False)
        transaction = self.transaction
        transaction.admit(statement.kind, self._endpoint.transaction_age)
        async with self._catalogue.changing if statement.kind is Kind.DDL else contextlib.nullcontext():
            answer = await self._undone(request, statement.targets)
        transaction.read += answer.rows_size
        if repeated:
            transaction.record(Write(statement, request, answer))
        return _passed_on(statement, answer)

    async def control(self, statement: Statement) -> bytes | None:
        """Run a BEGIN, COMMIT or ROLLBACK and return the client's answer; None for any other statement.

        Raises Refused, NeverAnswered, ConnectionError.
        """
        transaction = self.transaction
        if statement.refusal is not None or statement.kind not in (Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK):
            return None
        self.admit(statement)
        notice = b""
        tag = statement.kind.name
        if statement.kind is Kind.BEGIN:
            if self._endpoint.take("internal_errors"):
                raise Refused(INTERNAL_ERROR)
            if transaction is None:
                self.transaction = Transaction(explicit=True)
            elif transaction.explicit:
                notice = _IN_TRANSACTION.encode(b"N")
            else:
                transaction.explicit = True
        elif transaction is None:
            notice = _NO_TRANSACTION.encode(b"N")
        elif statement.kind is Kind.COMMIT and not transaction.aborted:
            await self._commit(transaction)
        else:
            await self._rollback()
            tag = "ROLLBACK"
        return notice + wire.complete(tag)

    async def end_implicit(self) -> None:
        """Commit the writes without BEGIN. Raises as `control` does."""
        if self.transaction is not None and not self.transaction.explicit:
            await self._commit(self.transaction)

    async def fail(self) -> None:
        """After a refusal: abort the client's transaction, or roll back one without BEGIN."""
        if self.transaction is not None and self.transaction.explicit:
            self.transaction.aborted = True
        else:
            await self._rollback()

    async def _undone(
        self, request: bytes, targets: frozenset[str] = frozenset(), *, after_writes: bool = True
    ) -> Answer:
        """Run one request, in the transaction if there is one and after its writes. Undo all of that. Raises Refused.

        `targets` are the tables that the request writes. If another transaction has written the same rows since the
        snapshot, the request runs in copies of them.
        """
        transaction = self.transaction
        if transaction is None:
            [answer] = await self._backend.exchange(request)
            if answer.error is not None:
                raise Refused(_as_conflict(answer, _CONFLICTS))
            return answer
        first = [] if transaction.begun else [_BEGIN]
        transaction.begun = True
        writes = transaction.writes if after_writes else []
        requests = [*(write.request for write in writes), request]
        written = [*(write.statement.targets for write in writes), targets]
        refused: Refused | None = None
        while True:
            before = first
            if transaction.copied and after_writes:
                before = [self._copies.fill(transaction.copied, self._catalogue.version)]
            *answers, _ = await self._backend.exchange(*before, *requests, _UNDO)
            first = []
            failed = next((step for step, answer in enumerate(answers) if answer.error is not None), None)
            if failed is None:
                return answers[-1]
            if answers[failed].sqlstate == _DEADLOCK:
                continue
            if refused is not None and failed < len(before):  # there can be no copy
                raise refused
            refused = Refused(_as_conflict(answers[failed], _CONFLICTS))
            found = written[failed - len(before)] - transaction.copied
            if not found or transaction.ddl or answers[failed].sqlstate not in _PERHAPS_CONFLICTS:
                raise refused
            transaction.copied |= found

    def _refuse_stale_schema(self) -> None:
        if self._schema_version != self._catalogue.version:
            self._schema_version = self._catalogue.version
            raise Refused(SCHEMA_CHANGED)

    async def _rollback(self) -> None:
        transaction, self.transaction = self.transaction, None
        if transaction is not None and transaction.begun:
            self._meter.count_read(transaction.read)
            copies = [self._copies.keep(transaction.copied, self._catalogue.version)] if transaction.copied else []
            await self._backend.exchange(_ROLLBACK, *copies)

    async def _commit(self, transaction: Transaction) -> None:
        endpoint = self._endpoint
        endpoint.commit_arrived.set()
        if endpoint.take("hang_at_commit"):
            raise NeverAnswered
        if endpoint.take("cut_before_commit"):
            raise ConnectionResetError("cut before COMMIT")
        if endpoint.take("internal_before_commit"):
            await self._rollback()
            raise Refused(INTERNAL_ERROR)
        if endpoint.commit_latency:
            await asyncio.sleep(endpoint.commit_latency)
        if transaction.writes:
            await self._write(transaction)
            endpoint.commits += 1
        else:
            await self._rollback()
        if endpoint.take("cut_after_commit"):
            raise ConnectionResetError("cut after COMMIT")
        if endpoint.take("internal_after_commit"):
            raise Refused(INTERNAL_ERROR)

    async def _write(self, transaction: Transaction) -> None:
        """Run the writes again, and commit them. Raises Refused, and then nothing is written."""
        catalogue = self._catalogue
        requests = [write.request for write in transaction.writes]
        async with catalogue.changing if transaction.ddl else contextlib.nullcontext():
            try:
                if transaction.copied or self._endpoint.take("conflicts"):
                    raise Refused(CONFLICT)
                self._refuse_stale_schema()
            except Refused:
                await self._rollback()
                raise
            self.transaction = None
            *answers, _ = await self._backend.exchange(*requests, _COMMIT)
            for answer in answers:
                if answer.error is not None:
                    raise Refused(_as_conflict(answer, _PERHAPS_CONFLICTS))
            if transaction.ddl:
                catalogue.version += 1
                self._schema_version = catalogue.version
        self._meter.count_read(transaction.read)
        self._meter.count_write(
            Change(write.statement.written, write.statement.sets, write.rows)
            for write in transaction.writes
            if write.statement.written is not None
        )
        for write, answer in zip(transaction.writes, answers, strict=True):
            if write.statement.creates_function is not None:
                catalogue.functions.add(write.statement.creates_function)
            if write.statement.creates_index:
                for job_id in wire.first_values(answer.raw):
                    catalogue.submit(job_id.decode())
            # The rows of RETURNING have no order.
            if sorted(wire.messages(answer.raw)) != sorted(wire.messages(write.answer.raw)):
                raise Refused(_NOT_REPEATABLE)


def _as_conflict(answer: Answer, sqlstates: set[str]) -> Refusal | bytes:
    """The error of an answer, as a conflict if its SQLSTATE is one of these."""
    return CONFLICT if answer.sqlstate in sqlstates else answer.error_response


def _passed_on(statement: Statement, answer: Answer) -> bytes:
    return answer.raw if statement.tag is None else wire.with_tag(answer.raw, statement.tag)


def _job_id(job: str | int, bind: wire.Bind | None) -> str:
    if isinstance(job, str):
        return job
    value = None if bind is None else bind.values()[job - 1]
    return "" if value is None else value.decode()
