"""Shared reads: requests that wait for the same public query share one execution."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import orjson

from api.drops.drops import Drops
from api.drops.gathering import Gathering
from api.graphql.context import Context
from api.graphql.departure import Departure
from api.graphql.documents import Document
from api.graphql.response import Response
from api.identity.admission import Admission
from api.identity.caller import ANONYMOUS
from api.identity.errors import RateLimited
from api.identity.joint_turns import JointTurns
from api.identity.quota import Claim, Quota

MAX_READS = 1_000
"""Different reads that are executed at a time, and can be joined. Past the bound, the newest read of the client that
began most of them can be joined no more."""

MAX_VARIABLES = 4_000
"""Bytes of the variables of a shared read, as JSON. No public field needs more. A request with more is executed by
itself, so that reads keep little in memory."""

SHARED = ""
"""The name under which the quota counts reads that several clients wait for."""

PATIENCE = 30.0
"""Seconds of one execution at most: some reads of the database, one after the other, and some waits for a turn."""

Execute: TypeAlias = Callable[[Document, str | None, dict[str, Any], Context], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True)
class Read:
    """What the requests that share an execution have in common.

    `name`: of the operation. `variables`: JSON with sorted keys. Callers are missing: a shared execution has no caller.
    """

    document: Document
    name: str | None
    variables: bytes

    @classmethod
    def of(cls, document: Document, name: str | None, variables: dict[str, Any] | None) -> "Read | None":
        """The read of a request; None for variables that are too long, or nested too deeply to be encoded."""
        try:
            encoded = orjson.dumps(variables or {}, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            return None
        return cls(document, name, encoded) if len(encoded) <= MAX_VARIABLES else None


@dataclass(slots=True, eq=False)
class _Reading:
    """A read that is being executed, and the requests that wait for it."""

    read: Read
    waiting: Gathering[str, Response] = field(init=False)
    """Its keys are the clients of the requests."""
    claim: Claim = field(init=False)
    turns: JointTurns | None = None
    """The turns of the execution under way."""


class SharedReads:
    """Executes public queries, once for all requests that wait for the same one.

    A request that comes during an execution waits for the next execution, so that no response is older than its
    request. A request that comes at another time is executed at once.
    """

    def __init__(
        self,
        drops: Drops,
        execute: Execute,
        admission: Admission,
        max_reads: int = MAX_READS,
        patience: float = PATIENCE,
    ) -> None:
        """`patience` in seconds. An execution that takes longer is cancelled."""
        self._patience = patience
        self._drops = drops
        self._execute = execute
        self._admission = admission
        self._quota = Quota(max_reads)
        self._joinable: dict[Read, _Reading] = {}
        self._under_way: set[_Reading] = set()

    def __len__(self) -> int:
        """The reads that are being executed."""
        return len(self._under_way)

    async def respond(self, read: Read, client: str, departure: Departure) -> Response:
        """The response to a request of this client. Raises QuotaSpent when the request must be executed by itself,
        RateLimited, and what the execution raises."""
        reading = self._joinable.get(read)
        if reading is None:
            reading = self._begin(read, client)
        else:
            self._join(reading, client)
        try:
            with departure.cancels():
                return (await reading.waiting.get((client,)))[client]
        finally:  # hundreds of requests get this response at the same moment
            await self._admission.gate.resumed(client)

    async def close(self) -> None:
        """Cancel all executions, and the requests that wait for them."""
        await asyncio.gather(*(reading.waiting.close() for reading in self._under_way))

    def _begin(self, read: Read, client: str) -> _Reading:
        """Raises QuotaSpent."""
        reading = _Reading(read)
        reading.claim = self._quota.take(client, 1, partial(self._set_apart, reading))
        reading.waiting = Gathering(partial(self._execute_once, reading), idle=partial(self._end, reading))
        self._joinable[read] = reading
        self._under_way.add(reading)
        return reading

    def _join(self, reading: _Reading, client: str) -> None:
        if reading.claim.client != client:
            self._quota.move(reading.claim, SHARED)
            if reading.turns is not None:
                reading.turns.join(client)

    def _set_apart(self, reading: _Reading) -> None:
        """Let no more requests join. Those that wait already get their responses."""
        del self._joinable[reading.read]

    def _end(self, reading: _Reading) -> None:
        if reading.claim.valid:
            self._quota.give_back(reading.claim)
            self._set_apart(reading)
        self._under_way.remove(reading)
        del reading.waiting, reading.claim  # they refer to the reading

    async def _execute_once(self, reading: _Reading, clients: list[str]) -> Mapping[str, Response]:
        """Execute a read as an anonymous caller, and charge one of these clients."""
        admission, read = self._admission, reading.read
        turns = reading.turns = JointTurns(admission.turns, clients)
        context = Context(self._drops, ANONYMOUS, turns.payer, turns, admission.gate)
        executing = self._execute(read.document, read.name, orjson.loads(read.variables), context)
        try:
            async with asyncio.timeout(self._patience):
                response = await admission.gate.metered(context.client, executing)
        except TimeoutError:
            message = "this server is overloaded, and your query was not executed in time; try again later"
            raise RateLimited(message, PATIENCE) from None
        return dict.fromkeys(clients, response)
