"""A client's messages, in the simple and the extended protocol, and their answers."""

import asyncio
from dataclasses import dataclass

from tests.dsql import wire
from tests.dsql.dialect import Kind, Statement, read_script
from tests.dsql.session import NeverAnswered, Session
from tests.dsql.stand_in import StandIn
from tests.dsql.wire import Refusal, Refused


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A statement that the client has prepared. `name` is its name in PostgreSQL, None for BEGIN, COMMIT and ROLLBACK,
    which are not prepared there."""

    statement: Statement | None
    name: str | None
    description: bytes


@dataclass(slots=True)
class _Portal:
    prepared: _Prepared
    bind: wire.Bind
    describe: bool = False


class Conversation:
    def __init__(
        self, endpoint: StandIn, session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._endpoint = endpoint
        self._session = session
        self._reader = reader
        self._writer = writer
        self._prepared: dict[str, _Prepared] = {}
        self._portals: dict[str, _Portal] = {}
        self._answer = bytearray()
        self._uncommitted_from = 0

    async def run(self) -> None:
        """Answer the client until it disconnects. Raises ConnectionError or IncompleteReadError."""
        skipping = False  # after an error messages are skipped, up to the next Sync
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
                elif kind != b"H" and not skipping:
                    await self._extended(kind, body)
            except Refused as refused:
                self._answer += refused.response
                await self._session.fail()
                skipping = True
            except NeverAnswered:
                while await self._reader.read(65536):
                    pass
                return
            if kind in (b"Q", b"S"):
                skipping = False
                self._answer += wire.ready(self._session.status)
            if kind in (b"Q", b"S", b"H") or skipping:
                await self._flush()

    async def _flush(self) -> None:
        await self._endpoint.flowing()
        self._writer.write(bytes(self._answer))
        self._answer.clear()
        await self._writer.drain()

    async def _query(self, text: str) -> None:
        statements = read_script(text)
        if not statements:
            self._answer += wire.EMPTY_QUERY
        for statement in statements:
            await self._do(statement, wire.query(statement.text))
        await self._end_implicit()

    async def _do(self, statement: Statement, request: bytes, bind: wire.Bind | None = None) -> None:
        self._endpoint.step()
        answer = await self._session.control(statement)
        if answer is None:
            if self._session.transaction is None:
                self._uncommitted_from = len(self._answer)
            answer = await self._session.run(statement, request, bind)
        self._answer += answer

    async def _end_implicit(self) -> None:
        try:
            await self._session.end_implicit()
        except Refused:
            del self._answer[self._uncommitted_from :]  # a write that was not committed gets no answer
            raise

    async def _extended(self, kind: bytes, body: bytes) -> None:
        if kind == b"P":
            await self._parse(body)
        elif kind == b"B":
            self._bind(wire.Bind.decode(body))
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

    async def _parse(self, body: bytes) -> None:
        self._endpoint.step()
        name, start = wire.take_string(body)
        text, start = wire.take_string(body, start)
        statements = read_script(text)
        if len(statements) > 1:
            raise Refused(Refusal("42601", "cannot insert multiple commands into a prepared statement"))
        statement = statements[0] if statements else None
        self._session.admit(statement)
        if statement is None or statement.kind in (Kind.BEGIN, Kind.COMMIT, Kind.ROLLBACK):
            self._prepared[name] = _Prepared(statement, None, wire.NO_PARAMETERS + wire.NO_DATA)
        else:
            self._prepared[name] = _Prepared(statement, *await self._session.prepare(statement, body[start:]))
        self._answer += wire.PARSE_COMPLETE

    def _find(self, name: str) -> _Prepared:
        if name not in self._prepared:
            raise Refused(Refusal("26000", f'prepared statement "{name}" does not exist'))
        return self._prepared[name]

    def _bind(self, bind: wire.Bind) -> None:
        prepared = self._find(bind.statement)
        self._portals[bind.portal] = _Portal(prepared, bind)
        if prepared.name is None:  # PostgreSQL answers the Bind of other statements, when they are executed
            self._answer += wire.BIND_COMPLETE

    async def _execute(self, portal: _Portal, limit: bytes) -> None:
        prepared = portal.prepared
        if prepared.statement is None:
            self._answer += wire.EMPTY_QUERY
            return
        bind = wire.message(b"B", b"\0", wire.string(prepared.name or ""), portal.bind.rest)
        describe = wire.message(b"D", b"P\0") if portal.describe else b""
        # A write returns all its rows: with a limit PostgreSQL sends no tag, which has the number of changed rows.
        execute = wire.message(b"E", b"\0", limit if prepared.statement.kind is Kind.READ else bytes(4))
        await self._do(prepared.statement, bind + describe + execute + wire.SYNC, portal.bind)
