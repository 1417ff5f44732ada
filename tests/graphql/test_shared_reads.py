"""Shared reads over real connections: equal public queries that wait at the same time are executed once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.database.errors import Unavailable
from api.graphql.context import Context
from api.graphql.execution import Executor
from api.graphql.shared_reads import MAX_VARIABLES, SharedReads
from api.identity.caller import ANONYMOUS
from api.identity.errors import RateLimited
from api.identity.quota import QuotaSpent
from api.settings import Settings
from tests.graphql.held_reads import HeldReads
from tests.graphql.operations import STOCK, stock_of
from tests.graphql.several import trusting
from tests.graphql.transport import assert_alive, connected
from tests.patience import until
from tests.server import ADMIN_TOKEN, Server, serving

MANY = 40
GUEST = "mutation { guest { token subject } }"
PAGE = "query ($first: Int) { products(first: $first) { edges { node { id stock } } } }"
OWN = "{ products { edges { node { id } } } viewer { subject } orders { edges { node { userRef } } } }"
BUY_OWN = "mutation ($id: ID!) { purchase(input: {productId: $id}) { status } }"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> HeldReads:
    return HeldReads(monkeypatch)


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[Context]:
    """The contexts of the operations that are executed from now on."""
    found: list[Context] = []
    execute = Executor.execute

    async def recorded(self: Executor, *arguments: Any) -> Any:
        found.append(arguments[-1])
        return await execute(self, *arguments)

    monkeypatch.setattr(Executor, "execute", recorded)
    return found


@pytest.fixture
async def guests(settings: Settings) -> AsyncIterator[Server]:
    """A server that distinguishes several clients, and has guests."""
    async with serving(trusting(settings, guest_keys=("a key of guest tokens for this test",))) as server:
        yield server


def asking(server: Server, query: str, variables: dict[str, Any] | None = None, **more: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(server.ask(query, variables, **more))


async def test_requests_that_wait_together_are_executed_together(server: Server, held: HeldReads) -> None:
    product_id = await server.create_product(stock=3)
    variables = {"id": product_id}
    async with held.held():
        first = asking(server, STOCK, variables)
        await held.until(waiting=1, statements=1)
        others = [asking(server, STOCK, variables) for _ in range(MANY)]
        await held.until(waiting=1 + MANY, statements=1)

    answers = await asyncio.gather(first, *others)
    assert answers == [{"data": {"product": {"stock": 3}}}] * (1 + MANY)
    assert held.statements == 2
    assert held.reads is not None
    assert len(held.reads) == 0


async def test_a_request_alone_is_executed_at_once(server: Server, held: HeldReads) -> None:
    product_id = await server.create_product(stock=3)

    for number in range(1, 4):
        assert await stock_of(server, product_id) == 3
        assert held.statements == number


async def test_a_request_does_not_join_an_execution_that_has_begun(server: Server, held: HeldReads) -> None:
    """The execution has read the stock before the purchase, and the request comes after the purchase."""
    product_id = await server.create_product(stock=4)
    await server.purchase(product_id)  # reads whether the product exists
    async with held.held_back():
        before = asking(server, STOCK, {"id": product_id})
        await until(lambda: held.results == 2)
        assert (await server.purchase(product_id))["remaining"] == 2
        after = asking(server, STOCK, {"id": product_id})
        await held.until(waiting=2)

    assert (await before)["data"]["product"]["stock"] == 3
    assert (await after)["data"]["product"]["stock"] == 2


async def test_no_answer_is_older_than_its_request_in_a_storm_of_equal_requests(
    server: Server, held: HeldReads
) -> None:
    product_id = await server.create_product(stock=1_000)
    reads, bought = 0, asyncio.Event()

    async def read_on() -> None:
        nonlocal reads
        latest = 1_000
        while not bought.is_set():
            stock = await stock_of(server, product_id)
            assert stock <= latest
            latest = stock
            reads += 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(MANY // 2):
            tasks.create_task(read_on())
        for number in range(20):
            remaining = (await server.purchase(product_id, f"buyer-{number}"))["remaining"]
            assert await stock_of(server, product_id) == remaining
        bought.set()

    assert held.statements < reads / 2


async def test_requests_that_differ_are_not_mixed(server: Server, held: HeldReads) -> None:
    ids = [await server.create_product(stock=stock) for stock in range(1, 5)]
    two = "query A($id: ID!) { product(id: $id) { stock } } query B($id: ID!) { product(id: $id) { name } }"

    async def named(name: str) -> Any:
        body = {"query": two, "variables": {"id": ids[0]}, "operationName": name}
        async with server.session.post(f"{server.url}/graphql", json=body) as response:
            return await response.json()

    async with held.held():
        stocks = [asking(server, STOCK, {"id": product_id}) for product_id in ids * 3]
        lists = [asking(server, PAGE, {"first": first}) for first in (1, 2, 3, 1, 2, 3)]
        by_name = [asyncio.create_task(named(name)) for name in "ABABAB"]
        await held.until(waiting=12 + 6 + 6)

    assert [(await task)["data"]["product"]["stock"] for task in stocks] == [1, 2, 3, 4] * 3
    assert [len((await task)["data"]["products"]["edges"]) for task in lists] == [1, 2, 3, 1, 2, 3]
    assert [(await task)["data"]["product"] for task in by_name] == [{"stock": 1}, {"name": "Tee"}] * 3


async def test_the_order_of_variables_does_not_matter(server: Server, held: HeldReads) -> None:
    product_id = await server.create_product(stock=3)
    query = "query ($id: ID!, $region: String) { product(id: $id, region: $region) { stock } }"
    async with held.held():
        now = asking(server, "{ now }")
        ways = [{"id": product_id, "region": None}, {"region": None, "id": product_id}] * 5
        asked = [asking(server, query, variables) for variables in ways]
        await held.until(waiting=11)

    assert [(await task)["data"]["product"]["stock"] for task in asked] == [3] * 10
    await now
    assert held.statements <= 1 + 2


async def test_what_depends_on_the_caller_is_executed_for_each_caller(
    guests: Server, held: HeldReads, contexts: list[Context]
) -> None:
    product_id = await guests.create_product(stock=10)
    buyers = [(await guests.data(GUEST))["guest"] for _ in range(2)]
    for buyer in buyers:
        await guests.data(BUY_OWN, {"id": product_id}, token=buyer["token"])
    contexts.clear()
    async with held.held():
        asked = [asking(guests, OWN, token=buyer["token"]) for buyer in buyers * 5]
        await until(lambda: len(contexts) == 10)
        assert held.waiting == 0

    for task, buyer in zip(asked, buyers * 5, strict=True):
        data = (await task)["data"]
        assert data["viewer"]["subject"] == buyer["subject"]
        assert {edge["node"]["userRef"] for edge in data["orders"]["edges"]} == {buyer["subject"]}
        assert len(data["products"]["edges"]) == 1


async def test_a_shared_execution_has_no_caller(guests: Server, held: HeldReads, contexts: list[Context]) -> None:
    product_id = await guests.create_product(stock=3)
    buyer = (await guests.data(GUEST))["guest"]
    contexts.clear()
    tokens = [None, buyer["token"], ADMIN_TOKEN, "a.wrong.token"] * 3
    async with held.held():
        first = asking(guests, STOCK, {"id": product_id}, token=ADMIN_TOKEN)
        await held.until(waiting=1, statements=1)
        others = [asking(guests, STOCK, {"id": product_id}, token=token) for token in tokens]
        await held.until(waiting=1 + len(tokens))

    assert await asyncio.gather(first, *others) == [{"data": {"product": {"stock": 3}}}] * (1 + len(tokens))
    assert [(context.caller, context.new_guest) for context in contexts] == [(ANONYMOUS, None)] * 2


@pytest.mark.parametrize(
    ("error", "code"), [(Unavailable("no answer"), "SERVICE_UNAVAILABLE"), (LookupError("a defect"), "INTERNAL")]
)
async def test_an_error_is_shared_and_not_kept(server: Server, held: HeldReads, error: Exception, code: str) -> None:
    """Defects have the same reference in all answers."""
    product_id = await server.create_product(stock=3)
    async with held.held():
        first = asking(server, STOCK, {"id": product_id})
        await held.until(waiting=1, statements=1)
        others = [asking(server, STOCK, {"id": product_id}) for _ in range(MANY)]
        await held.until(waiting=1 + MANY)
        held.error = error
    answers = [await first] + [await task for task in others]
    held.error = None

    assert {answer["errors"][0]["extensions"]["code"] for answer in answers} == {code}
    assert answers[1:] == answers[1:2] * MANY
    assert await stock_of(server, product_id) == 3


async def test_variables_that_do_not_fit_are_refused_for_each(server: Server) -> None:
    answers = await asyncio.gather(*(asking(server, STOCK, {"id": {}}) for _ in range(5)))
    assert answers == answers[:1] * 5
    assert "data" not in answers[0]


async def test_a_query_that_is_not_executed_in_time_is_refused_on_every_transport(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(*_: object) -> Any:
        raise RateLimited("not in time", 30.0)

    monkeypatch.setattr(SharedReads, "respond", late)
    async with server.session.post(f"{server.url}/graphql", json={"query": "{ now }"}) as response:
        assert (response.status, response.headers["retry-after"]) == (429, "30")
        assert (await response.json())["errors"][0]["extensions"] == {"code": "RATE_LIMITED", "retryAfterMs": 30_000}
    async with connected(server) as client:
        await client.subscribe("{ now }")
        assert await client.error() == ("RATE_LIMITED", "not in time")
        await assert_alive(client)


async def test_a_client_that_leaves_takes_nothing_from_those_that_wait_with_it(server: Server, held: HeldReads) -> None:
    product_id = await server.create_product(stock=3)
    async with held.held():
        first = asking(server, STOCK, {"id": product_id})
        await held.until(waiting=1, statements=1)
        leaving = [first, *(asking(server, STOCK, {"id": product_id}) for _ in range(5))]
        staying = [asking(server, STOCK, {"id": product_id}) for _ in range(5)]
        await held.until(waiting=11)
        for task in leaving:
            task.cancel()
        await held.until(waiting=5)

    assert [(await task)["data"]["product"]["stock"] for task in staying] == [3] * 5
    assert held.statements == 2


async def test_nothing_is_left_when_every_client_has_left(server: Server, held: HeldReads) -> None:
    product_id = await server.create_product(stock=3)
    async with held.held():
        leaving = [asking(server, STOCK, {"id": product_id}) for _ in range(5)]
        await held.until(waiting=5)
        for task in leaving:
            task.cancel()
        await held.until(waiting=0)
    reads = held.reads
    assert reads is not None
    await until(lambda: len(reads) == 0)

    assert await stock_of(server, product_id) == 3


async def test_sockets_share_executions_with_requests_over_http(server: Server, held: HeldReads) -> None:
    product_id = await server.create_product(stock=3)
    variables = {"id": product_id}
    async with connected(server) as one, connected(server) as another:
        async with held.held():
            first = asking(server, STOCK, variables)
            await held.until(waiting=1, statements=1)
            for client in (one, another):
                for number in range(10):
                    await client.subscribe(STOCK, variables, id=str(number))
            await one.complete("3")
            await assert_alive(one)
            await held.until(waiting=1 + 19)

        assert (await first)["data"]["product"]["stock"] == 3
        for client, left in ((one, {"3"}), (another, set[str]())):
            messages = [await client.receive() for _ in range(2 * (10 - len(left)))]
            ids = {message["id"] for message in messages if message["type"] == "complete"}
            assert ids == {str(number) for number in range(10)} - left
            assert [each["payload"] for each in messages if each["type"] == "next"] == [
                {"data": {"product": {"stock": 3}}}
            ] * len(ids)
    assert held.statements == 2


async def test_a_read_that_cannot_be_shared_is_executed_by_itself(
    server: Server, held: HeldReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def spent(*_: object) -> Any:
        raise QuotaSpent

    monkeypatch.setattr(SharedReads, "respond", spent)
    await server.create_product(stock=3)
    answers = await asyncio.gather(*(asking(server, PAGE, {"first": 1}) for _ in range(5)))

    assert [answer["data"]["products"]["edges"][0]["node"]["stock"] for answer in answers] == [3] * 5
    assert held.statements == 5


@pytest.mark.parametrize("more", ["[" * 300 + "]" * 300, f'"{"x" * MAX_VARIABLES}"'], ids=["deep", "long"])
async def test_a_query_with_too_many_variables_is_executed_by_itself(
    server: Server, held: HeldReads, more: str, contexts: list[Context]
) -> None:
    product_id = await server.create_product(stock=3)
    contexts.clear()
    body = f'{{"query": "{STOCK}", "variables": {{"id": "{product_id}", "more": {more}}}}}'
    headers = {"content-type": "application/json"}

    async def ask() -> Any:
        async with server.session.post(f"{server.url}/graphql", data=body, headers=headers) as response:
            return await response.json()

    async with held.held():
        asked = [asyncio.create_task(ask()) for _ in range(3)]
        await until(lambda: len(contexts) == 3)
        assert held.waiting == 0

    assert await asyncio.gather(*asked) == [{"data": {"product": {"stock": 3}}}] * 3
