"""What one client cannot use up for the others: the room for subscriptions, the turns for long work, and a line."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from graphql import get_introspection_query
from starlette.types import ASGIApp

from api.app import MOST, SHARE, create_app
from api.database.pool import Pool
from api.drops.group_policy import GroupPolicy
from api.graphql.broadcast import MAX_CHARACTERS
from api.identity.admission import Admission
from api.identity.turns import Turns
from api.settings import Settings
from tests.graphql.several import client_headers, trusting, until_waiting
from tests.graphql.subscriptions import BUY, EVENTS, WATCH, streaming, until_metrics
from tests.graphql.transport import Client, connected
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE, short, until
from tests.server import ADMIN_TOKEN, PURCHASE, Server, serving

GREEDY, HONEST = client_headers(1), client_headers(2)
PADDING = 30_000
FITTING = MAX_CHARACTERS // PADDING


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server that distinguishes several clients."""
    async with serving(trusting(settings)) as server:
        yield server


def different(product_id: str, number: int) -> dict[str, Any]:
    """Variables that make a subscription different from all others. FITTING such subscriptions take nearly all room."""
    return {"ids": [product_id], "padding": str(number).zfill(PADDING - 500)}


async def take_all_room(client: Client, product_id: str) -> int:
    """Subscribe until a subscription is refused. Returns the number of the accepted ones."""
    number = 0
    while True:
        await client.subscribe(WATCH, different(product_id, number), id=str(number))
        message = await client.receive()
        if message["type"] == "error":
            return number
        assert message["id"] == str(number)
        number += 1


async def refused_as_rate_limited(client: Client) -> str:
    """Expect the end of a subscription, because there are too many. Returns its id."""
    message = await client.receive()
    assert message["type"] == "error", message
    [error] = message["payload"]
    assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfterMs": 5000}
    assert error["message"].startswith("This server has too many different subscriptions under way")
    identity: str = message["id"]
    return identity


async def test_the_client_with_most_subscriptions_gives_way_newest_first(server: Server) -> None:
    product_id = await server.create_product(stock=10)
    async with connected(server, headers=GREEDY) as greedy, connected(server, headers=HONEST) as honest:
        taken = await take_all_room(greedy, product_id)
        assert FITTING <= taken < 2 * FITTING

        for number in range(3):
            variables = different(product_id, 1_000 + number)
            await honest.subscribe(WATCH, variables, id=str(number))
            assert await honest.next(str(number)) == {"stockChanged": {"stock": 10, "version": 1}}
            assert await refused_as_rate_limited(greedy) == str(taken - 1 - number)

        await until_metrics(server, broadcasts=taken, watchers=taken)
        await server.purchase(product_id)
        assert {(await honest.receive())["id"] for _ in range(3)} == {"0", "1", "2"}
        assert {(await greedy.receive())["id"] for _ in range(taken - 3)} == {str(each) for each in range(taken - 3)}


async def test_an_event_stream_that_gives_way_ends_with_an_error(server: Server) -> None:
    """The ids of its client's subscriptions can be used again."""
    product_id = await server.create_product(stock=10)
    async with connected(server, headers=GREEDY) as greedy, connected(server, headers=HONEST) as honest:
        taken = await take_all_room(greedy, product_id)
        await greedy.complete(str(taken - 1))
        async with streaming(server, WATCH, different(product_id, 500), headers=GREEDY) as stream:
            assert (await stream.next())["stockChanged"]["stock"] == 10
            await honest.subscribe(WATCH, different(product_id, 1_000))
            await honest.next()

            name, response = await stream.event()
            assert (name, response["errors"][0]["extensions"]["code"]) == ("next", "RATE_LIMITED")
            assert (await stream.event())[0] == "complete"
            await stream.ends()

        await greedy.complete("0")  # which makes room
        await greedy.subscribe(WATCH, different(product_id, 501), id=str(taken - 1))
        assert await greedy.next(str(taken - 1)) == {"stockChanged": {"stock": 10, "version": 1}}


async def test_a_watcher_of_a_shared_broadcast_needs_no_room(server: Server) -> None:
    product_id = await server.create_product(stock=10)
    async with connected(server, headers=GREEDY) as greedy, connected(server, headers=GREEDY) as another:
        await take_all_room(greedy, product_id)
        for number in range(5):
            await another.subscribe(WATCH, different(product_id, 0), id=str(number))
            assert await another.next(str(number)) == {"stockChanged": {"stock": 10, "version": 1}}


async def test_a_shared_broadcast_does_not_give_way_with_the_client_that_began_it(server: Server) -> None:
    product_id = await server.create_product(stock=10)
    async with (
        connected(server, headers=GREEDY) as greedy,
        connected(server, headers=HONEST) as honest,
        connected(server, headers=client_headers(3)) as newcomer,
    ):
        taken = await take_all_room(greedy, product_id)
        await greedy.complete(str(taken - 1))
        await greedy.subscribe(WATCH, {"ids": [product_id]}, id="what everybody watches")
        await greedy.next("what everybody watches")
        await honest.subscribe(WATCH, {"ids": [product_id]}, id="honest")
        assert await honest.next("honest") == {"stockChanged": {"stock": 10, "version": 1}}
        for number in range(
            2
        ):  # the first takes the room that is left, the second that of the newest greedy subscription
            await newcomer.subscribe(WATCH, different(product_id, 1_000 + number), id=str(number))
            await newcomer.next(str(number))

        await server.purchase(product_id)
        assert await honest.next("honest") == {"stockChanged": {"stock": 9, "version": 2}}


class HeldTurns:
    """Turns that the test holds, and the server that needs them. It soon refuses work that gets no turn.

    A busy machine can also refuse work while nobody holds the turns. So work that must get a turn is sent again until
    it has had one.
    """

    def __init__(self) -> None:
        self.turns = Turns(0.1, 0.4, patience=short(0.05))

    @contextlib.asynccontextmanager
    async def serving(self, settings: Settings) -> AsyncIterator[Server]:
        def make_app(admission: Admission) -> ASGIApp:
            return create_app(settings, replace(admission, turns=self.turns))

        async with serving(settings, make_app=make_app) as server:
            yield server


def answered(server: Server, query: str, variables: dict[str, Any] | None = None) -> Callable[[], Awaitable[bool]]:
    """A condition for `until`: the server has answered the operation without an error."""

    async def is_answered() -> bool:
        return "errors" not in await server.ask(query, variables)

    return is_answered


MESSAGE = "this server is overloaded, and your share of it is used; try again in a moment"
LIMITED = {"message": MESSAGE, "extensions": {"code": "RATE_LIMITED", "retryAfterMs": 10_000}}


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", EVENTS])
async def test_a_new_document_that_gets_no_turn_is_429_with_a_time_to_retry(settings: Settings, accept: str) -> None:
    held = HeldTurns()
    async with held.serving(settings) as server:
        await until(answered(server, "{ __typename }"))
        async with held.turns.turn("somebody else"):
            body, headers = {"query": "{ now }"}, {"accept": accept}
            async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
                assert (response.status, response.headers["retry-after"]) == (429, "10")
                assert await response.json(content_type=None) == {"errors": [LIMITED]}
            assert await server.data("{ __typename }") == {"__typename": "Query"}  # it is prepared already

        await until(answered(server, "{ now }"))


async def test_an_operation_that_gets_no_turn_over_a_websocket_ends_alone(settings: Settings) -> None:
    held = HeldTurns()
    async with held.serving(settings) as server, connected(server) as client:
        await until(answered(server, "{ __typename }"))
        async with held.turns.turn("somebody else"):
            for query in ("{ now }", WATCH):
                await client.subscribe(query, {"ids": []}, id="new")
                message = await client.receive()
                assert message == {"id": "new", "type": "error", "payload": [LIMITED]}
            assert await client.answer("{ __typename }") == {"__typename": "Query"}

        await until(answered(server, "{ now }"))
        assert (await client.answer("{ now }", id="new"))["now"]


async def test_a_purchase_with_a_known_document_needs_no_turn(settings: Settings, server: Server) -> None:
    product_id = await server.create_product(stock=2)
    wanted = {"input": {"productId": product_id, "userRef": "first", "idempotencyKey": "first"}}
    held = HeldTurns()
    async with held.serving(settings) as holding:
        await until(answered(holding, PURCHASE, wanted))
        async with held.turns.turn("somebody else"):
            assert (await holding.purchase(product_id, "second"))["status"] == "CONFIRMED"


async def test_the_documents_of_one_client_leave_a_turn_for_another(settings: Settings) -> None:
    """All documents are new and get their turns one by one. The document of the other client is not the last."""

    def make_app(admission: Admission) -> ASGIApp:
        # On a busy machine the last of 40 documents waits longer than a server's patience.
        return create_app(trusting(settings), replace(admission, turns=Turns(SHARE, MOST, PATIENCE)))

    async with serving(trusting(settings), make_app=make_app) as server:
        done: list[str] = []
        introspection = get_introspection_query()

        async def ask(number: int, headers: dict[str, str]) -> None:
            body = {"query": f"{introspection} # {number}"}
            async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
                assert response.status == 200
            done.append(headers["x-forwarded-for"])

        async with asyncio.TaskGroup() as tasks:
            for number in range(40):
                tasks.create_task(ask(number, GREEDY))
            tasks.create_task(ask(1_000, HONEST))

    assert done[-1] != HONEST["x-forwarded-for"]


async def test_the_operators_token_gives_no_turn(settings: Settings) -> None:
    held = HeldTurns()
    async with held.serving(settings) as server, held.turns.turn("somebody else"):
        assert await server.refusal("{ now }", token=ADMIN_TOKEN) == ("RATE_LIMITED", MESSAGE)


async def buy(server: Server, product_id: str, buyer: str, headers: dict[str, str]) -> str:
    """The status of a purchase."""
    body = {"query": BUY, "variables": {"input": {"productId": product_id, "userRef": buyer}}}
    async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
        status: str = (await response.json())["data"]["purchase"]["status"]
        return status


@pytest.mark.parametrize("known", [True, False])
async def test_a_line_that_one_client_has_filled_has_room_for_another(
    settings: Settings, behind: Pool, known: bool
) -> None:
    """If the server cannot distinguish the clients, the purchase of the other client is answered BUSY."""
    settings = replace(settings, group=GroupPolicy(max_unanswered=5))
    async with serving(trusting(settings) if known else settings) as server:
        product_id = await server.create_product(stock=100)
        async with stock_held(behind, product_id):
            many = [asyncio.create_task(buy(server, product_id, "first", GREEDY))]
            await until_blocked(behind)
            many += [asyncio.create_task(buy(server, product_id, f"buyer-{number}", GREEDY)) for number in range(4)]
            await until_waiting(server, 5)
            other = asyncio.create_task(buy(server, product_id, "other", HONEST))
            gave_way, _ = await asyncio.wait([*many, other], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
            assert [task.result() for task in gave_way] == ["BUSY"]
            assert (other in gave_way) is not known

        statuses = Counter(await asyncio.gather(*many, other))
    assert statuses == {"CONFIRMED": 5, "BUSY": 1}
