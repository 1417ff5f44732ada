"""What one client cannot use up for the others: the room of subscriptions, and the turns of what takes long."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from graphql import get_introspection_query
from starlette.applications import Starlette

from api.app import create_app
from api.database.pool import Pool
from api.drops.group_commit import GroupPolicy
from api.graphql.broadcast import MAX_CHARACTERS
from api.identity.admission import Admission
from api.identity.turns import Turns
from api.settings import Settings
from tests.graphql.several import come_from, trusting, until_waiting
from tests.graphql.subscriptions import BUY, EVENTS, WATCH, Stream, until_metrics
from tests.graphql.transport import Client, connected
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE, short
from tests.server import ADMIN_TOKEN, Server, serving

GREEDY, HONEST = come_from(1), come_from(2)
PADDING = 30_000
FITTING = MAX_CHARACTERS // PADDING


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server that knows several clients."""
    async with serving(trusting(settings)) as server:
        yield server


def different(product_id: str, number: int) -> dict[str, Any]:
    """Variables of a subscription that is like no other. FITTING of them take nearly all room."""
    return {"ids": [product_id], "padding": str(number).zfill(PADDING - 500)}


@contextlib.asynccontextmanager
async def streaming(server: Server, variables: dict[str, Any], headers: dict[str, str]) -> AsyncIterator[Stream]:
    body = {"query": WATCH, "variables": variables}
    request = server.session.post(f"{server.url}/graphql", json=body, headers={"accept": EVENTS, **headers})
    async with request as response:
        yield Stream(response)


async def take_all_room(client: Client, product_id: str) -> int:
    """Subscribe until no more is taken; how many were."""
    number = 0
    while True:
        await client.subscribe(WATCH, different(product_id, number), id=str(number))
        message = await client.receive()
        if message["type"] == "error":
            return number
        assert message["id"] == str(number)
        number += 1


async def refused_as_rate_limited(client: Client) -> str:
    """The id of the subscription that is ended so."""
    message = await client.receive()
    assert message["type"] == "error", message
    [error] = message["payload"]
    assert error["extensions"] == {"code": "RATE_LIMITED", "retryAfterMs": 5000}
    assert error["message"].startswith("This server has too many different subscriptions under way")
    identity: str = message["id"]
    return identity


async def test_who_has_taken_all_room_for_subscriptions_gives_way_newest_first(server: Server) -> None:
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
        told = {(await honest.receive())["id"] for _ in range(3)}
        assert told == {"0", "1", "2"}
        assert {(await greedy.receive())["id"] for _ in range(taken - 3)} == {str(each) for each in range(taken - 3)}


async def test_an_event_stream_that_gives_way_is_told_why_and_its_client_s_id_can_be_used_again(
    server: Server,
) -> None:
    product_id = await server.create_product(stock=10)
    async with connected(server, headers=GREEDY) as greedy, connected(server, headers=HONEST) as honest:
        taken = await take_all_room(greedy, product_id)
        await greedy.complete(str(taken - 1))
        async with streaming(server, different(product_id, 500), GREEDY) as stream:
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


async def test_who_watches_what_others_watch_needs_no_room(server: Server) -> None:
    product_id = await server.create_product(stock=10)
    async with connected(server, headers=GREEDY) as greedy, connected(server, headers=GREEDY) as another:
        await take_all_room(greedy, product_id)
        for number in range(5):
            await another.subscribe(WATCH, different(product_id, 0), id=str(number))
            assert await another.next(str(number)) == {"stockChanged": {"stock": 10, "version": 1}}


async def test_who_watches_what_a_greedy_client_has_begun_does_not_give_way_with_it(server: Server) -> None:
    product_id = await server.create_product(stock=10)
    async with (
        connected(server, headers=GREEDY) as greedy,
        connected(server, headers=HONEST) as honest,
        connected(server, headers=come_from(3)) as newcomer,
    ):
        taken = await take_all_room(greedy, product_id)
        await greedy.complete(str(taken - 1))
        await greedy.subscribe(WATCH, {"ids": [product_id]}, id="what everybody watches")
        await greedy.next("what everybody watches")
        await honest.subscribe(WATCH, {"ids": [product_id]}, id="honest")
        assert await honest.next("honest") == {"stockChanged": {"stock": 10, "version": 1}}
        for number in range(2):  # one takes the room that is left, the other that of the greedy one's newest
            await newcomer.subscribe(WATCH, different(product_id, 1_000 + number), id=str(number))
            await newcomer.next(str(number))

        await server.purchase(product_id)
        assert await honest.next("honest") == {"stockChanged": {"stock": 9, "version": 2}}


class Held:
    """A server whose turns the test takes, and which refuses soon whoever gets none."""

    def __init__(self) -> None:
        self.turns = Turns(0.1, 0.4, patience=short(0.05))

    @contextlib.asynccontextmanager
    async def serving(self, settings: Settings) -> AsyncIterator[Server]:
        def make_app(admission: Admission) -> Starlette:
            return create_app(settings, replace(admission, turns=self.turns))

        async with serving(settings, make_app=make_app) as server:
            yield server


MESSAGE = "this server is overloaded, and your share of it is used; try again in a moment"
LIMITED = {"message": MESSAGE, "extensions": {"code": "RATE_LIMITED", "retryAfterMs": 10_000}}


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json", EVENTS])
async def test_a_new_document_that_gets_no_turn_is_answered_with_429_and_when_to_come_back(
    settings: Settings, accept: str
) -> None:
    held = Held()
    async with held.serving(settings) as server:
        await server.ask("{ __typename }")
        async with held.turns.turn("somebody else"):
            body, headers = {"query": "{ now }"}, {"accept": accept}
            async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
                assert (response.status, response.headers["retry-after"]) == (429, "10")
                assert await response.json(content_type=None) == {"errors": [LIMITED]}
            assert await server.data("{ __typename }") == {"__typename": "Query"}  # it is prepared already

        assert (await server.data("{ now }"))["now"]


async def test_the_same_over_a_websocket_ends_the_operation_and_not_the_socket(settings: Settings) -> None:
    held = Held()
    async with held.serving(settings) as server, connected(server) as client:
        await client.answer("{ __typename }")
        async with held.turns.turn("somebody else"):
            for query in ("{ now }", WATCH):
                await client.subscribe(query, {"ids": []}, id="new")
                message = await client.receive()
                assert message == {"id": "new", "type": "error", "payload": [LIMITED]}
            assert await client.answer("{ __typename }") == {"__typename": "Query"}

        assert (await client.answer("{ now }", id="new"))["now"]


async def test_a_purchase_whose_document_is_known_needs_no_turn(settings: Settings) -> None:
    held = Held()
    async with held.serving(settings) as server:
        product_id = await server.create_product(stock=2)
        await server.purchase(product_id, "first")
        async with held.turns.turn("somebody else"):
            assert (await server.purchase(product_id, "second"))["status"] == "CONFIRMED"


async def test_one_client_s_documents_leave_another_s_its_turn(settings: Settings) -> None:
    """All of them are new, and wait for turns that one by one they get: the other's is not the last."""
    async with serving(trusting(settings)) as server:
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


async def test_the_operators_token_buys_no_turn(settings: Settings) -> None:
    held = Held()
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
    """Where the server cannot tell them apart, the other is turned away like the first one's next."""
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
