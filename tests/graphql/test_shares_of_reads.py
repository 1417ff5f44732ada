"""What one client cannot use up for the others that wait for the same reads, and how reads end."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest
from graphql import GraphQLSchema

from api.app import create_admission
from api.drops.drops import Drops
from api.graphql.context import Context
from api.graphql.departure import Departure
from api.graphql.documents import Document, Documents
from api.graphql.response import Response
from api.graphql.shared_reads import Read, SharedReads
from api.identity.admission import Admission
from api.identity.errors import RateLimited
from api.identity.quota import QuotaSpent
from api.identity.turns import LENGTH, Turns
from api.settings import read_settings
from tests.patience import PATIENCE, short

GREEDY, HONEST, OTHER = "greedy", "honest", "other"
MAX_READS = 3


class Executions:
    """Executions that a test lets end. Each needs a turn if `pays`."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, bytes]] = []
        """The client that is charged, and the variables."""
        self.go_on = asyncio.Event()
        self.pays = False

    async def execute(
        self, document: Document, name: str | None, variables: dict[str, Any], context: Context
    ) -> Response:
        number = str(variables["n"]).encode()
        self.begun.append((context.client, number))
        if self.pays:
            await context.turns.pay(context.client, LENGTH)
        await self.go_on.wait()
        return Response(number)


@pytest.fixture
def executions() -> Executions:
    return Executions()


@pytest.fixture
def admission() -> Admission:
    return create_admission(read_settings({}))


@pytest.fixture
def document(schema: GraphQLSchema, admission: Admission) -> Document:
    return Documents(schema, admission.turns).prepare("{ now }")


@pytest.fixture
async def reads(executions: Executions, admission: Admission) -> AsyncIterator[SharedReads]:
    reads = SharedReads(cast("Drops", None), executions.execute, admission, MAX_READS)
    yield reads
    await reads.close()


class Requests:
    """Requests for reads, which differ in a number."""

    def __init__(self, reads: SharedReads, document: Document) -> None:
        self._reads = reads
        self._document = document

    async def begin(self, number: int, client: str, departure: Departure | None = None) -> asyncio.Task[Response]:
        read = Read.of(self._document, None, {"n": number})
        assert read is not None
        task = asyncio.create_task(self._reads.respond(read, client, departure or Departure()))
        for _ in range(3):  # until its execution has begun, if it begins one
            await asyncio.sleep(0)
        return task


@pytest.fixture
def requests(reads: SharedReads, document: Document) -> Requests:
    return Requests(reads, document)


async def done(*tasks: asyncio.Task[Response]) -> list[int]:
    async with asyncio.timeout(PATIENCE):
        return [int((await task).body) for task in tasks]


async def test_a_client_with_most_reads_gets_no_more_of_them(requests: Requests, executions: Executions) -> None:
    waiting = [await requests.begin(number, GREEDY) for number in range(MAX_READS)]

    with pytest.raises(QuotaSpent):
        await (await requests.begin(MAX_READS, GREEDY))
    waiting.append(await requests.begin(0, GREEDY))  # a request that joins needs no more room

    executions.go_on.set()
    assert await done(*waiting) == [0, 1, 2, 0]


async def test_the_newest_read_of_the_client_with_most_can_be_joined_no_more(
    requests: Requests, executions: Executions, reads: SharedReads
) -> None:
    waiting = [await requests.begin(number, GREEDY) for number in range(MAX_READS)]
    waiting += [await requests.begin(2, GREEDY)]
    waiting += [await requests.begin(9, HONEST), await requests.begin(9, HONEST)]
    assert len(executions.begun) == MAX_READS + 1
    with pytest.raises(QuotaSpent):
        await (await requests.begin(2, GREEDY))

    executions.go_on.set()
    assert await done(*waiting) == [0, 1, 2, 2, 9, 9]
    assert [number for _, number in executions.begun].count(b"9") == 2
    assert len(reads) == 0


async def test_a_read_that_several_clients_wait_for_does_not_give_way_with_the_first(
    requests: Requests, executions: Executions
) -> None:
    waiting = [await requests.begin(number, GREEDY) for number in range(MAX_READS)]
    waiting += [await requests.begin(2, HONEST), await requests.begin(9, OTHER)]
    with pytest.raises(QuotaSpent):
        await (await requests.begin(1, GREEDY))  # it gave way in place of 2
    waiting += [await requests.begin(2, OTHER)]

    executions.go_on.set()
    assert await done(*waiting) == [0, 1, 2, 2, 9, 2]
    assert [number for _, number in executions.begun].count(b"2") == 2


async def test_room_comes_back(requests: Requests, executions: Executions, reads: SharedReads) -> None:
    executions.go_on.set()
    for number in range(3 * MAX_READS):
        assert await done(await requests.begin(number, GREEDY)) == [number]
    assert len(reads) == 0


async def test_the_client_that_has_used_least_is_charged(
    requests: Requests, executions: Executions, admission: Admission
) -> None:
    async with admission.turns.turn("holder"):
        admission.turns.later(GREEDY, 1_000.0, lambda: None)()
        waiting = [await requests.begin(1, GREEDY) for _ in range(3)]
        waiting += [await requests.begin(1, HONEST), await requests.begin(1, GREEDY)]
        executions.go_on.set()
        await done(*waiting)

    assert [client for client, _ in executions.begun] == [GREEDY, HONEST]


async def test_a_client_that_has_used_up_its_turns_keeps_no_other_client_waiting(
    requests: Requests, executions: Executions, admission: Admission
) -> None:
    """The greedy client has begun the execution, alone, and then the honest client comes."""
    executions.pays = True
    executions.go_on.set()
    turns = admission.turns
    async with turns.turn("holder"):
        turns.later(GREEDY, 1_000.0, lambda: None)()
        begun = await requests.begin(1, GREEDY)
        others = [asyncio.create_task(turns.pay(f"client {number}", 100.0)) for number in range(5)]
        waiting = await requests.begin(1, HONEST)

    assert await done(begun, waiting) == [1, 1]
    assert not any(task.done() for task in others)
    for task in others:
        task.cancel()


async def test_an_execution_that_takes_too_long_is_refused(
    executions: Executions, admission: Admission, document: Document
) -> None:
    reads = SharedReads(cast("Drops", None), executions.execute, admission, patience=short(0.05))
    requests = Requests(reads, document)
    waiting = [await requests.begin(1, client) for client in (GREEDY, HONEST)]

    for task in waiting:
        with pytest.raises(RateLimited, match="your query was not executed in time"):
            await asyncio.wait_for(task, PATIENCE)
    assert len(reads) == 0


async def test_closing_ends_the_executions_and_the_requests_that_wait(
    requests: Requests, executions: Executions, reads: SharedReads
) -> None:
    waiting = [await requests.begin(number, GREEDY) for number in (0, 0, 1, 2)]
    waiting += [await requests.begin(9, HONEST)]  # and the read 2 can be joined no more

    await asyncio.wait_for(reads.close(), PATIENCE)

    await asyncio.wait(waiting)
    assert all(task.cancelled() for task in waiting)
    assert len(reads) == 0
    await reads.close()


async def test_a_client_that_leaves_waits_no_more(
    requests: Requests, executions: Executions, reads: SharedReads
) -> None:
    departures = [Departure() for _ in range(3)]
    first, second, third = [await requests.begin(1, GREEDY, departure) for departure in departures]
    for departure in departures[:2]:
        departure.leave()
    await asyncio.wait([first, second])
    assert not third.done()

    executions.go_on.set()
    assert await done(third) == [1]
    assert len(reads) == 0


async def test_requests_that_get_a_response_at_the_same_moment_go_on_in_turns(
    requests: Requests, executions: Executions, admission: Admission, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed: list[str] = []

    async def record(client: str) -> None:
        resumed.append(client)

    monkeypatch.setattr(admission.gate, "resumed", record)
    waiting = [await requests.begin(1, client) for client in (GREEDY, HONEST, OTHER)]
    assert resumed == []
    executions.go_on.set()
    await done(*waiting)

    assert sorted(resumed) == sorted([GREEDY, HONEST, OTHER])


async def test_a_read_that_waits_for_a_turn_is_refused_in_the_end(
    executions: Executions, admission: Admission, document: Document
) -> None:
    executions.pays = True
    admission = replace(admission, turns=Turns(0.1, 0.4, patience=short(0.05)))
    requests = Requests(SharedReads(cast("Drops", None), executions.execute, admission), document)
    async with admission.turns.turn("holder"):
        with pytest.raises(RateLimited, match="your share of it is used"):
            await asyncio.wait_for(await requests.begin(1, GREEDY), PATIENCE)
