"""Broadcasts: which watchers share an execution, which do not, and how their subscriptions end."""

import asyncio
import contextlib
from dataclasses import replace
from time import time
from typing import Any

import asyncpg
import orjson
import pytest
from graphql import parse, print_ast

from api.graphql.broadcast import FIXED_CHARACTERS, MAX_CHARACTERS
from api.graphql.execution import Subscription
from api.graphql.outlet import Outlet
from api.identity.guests import GuestTokens
from api.settings import Settings
from tests.graphql.operations import UNKNOWN_ID
from tests.graphql.subscriptions import BUY, WATCH, streaming, until_metrics
from tests.graphql.transport import assert_alive, connected, several_connected
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server, serving

NAMED = """
subscription Watch($first: ID!, $second: ID!) { stockChanged(productIds: [$first, $second]) { productId stock } }
"""


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
def executions(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The events for which a subscription is executed from now on."""
    events: list[Any] = []
    original = Subscription.respond

    async def respond(self: Subscription, event: Any) -> dict[str, Any]:
        events.append(event)
        return await original(self, event)

    monkeypatch.setattr(Subscription, "respond", respond)
    return events


async def broadcasts(server: Server) -> float:
    return (await server.metrics())["dropzero_broadcasts"]


async def test_a_change_is_executed_once_for_all_its_watchers(server: Server, executions: list[Any]) -> None:
    product_id = await server.create_product(stock=5)

    async with several_connected(server, 5) as clients, streaming(server, WATCH, {"ids": [product_id]}) as stream:
        assert await stream.next() == {"stockChanged": {"stock": 5, "version": 1}}
        for number, client in enumerate(clients):
            await client.subscribe(WATCH, {"ids": [product_id]}, id=str(number))
            assert await client.next(str(number)) == {"stockChanged": {"stock": 5, "version": 1}}
        assert await broadcasts(server) == 1
        await server.purchase(product_id)
        for number, client in enumerate(clients):
            assert await client.next(str(number)) == {"stockChanged": {"stock": 4, "version": 2}}
        assert await stream.next() == {"stockChanged": {"stock": 4, "version": 2}}

    assert [event.version for event in executions] == [1, 2]


async def test_a_new_watcher_gets_the_current_stock_without_another_reading(server: Server) -> None:
    product_id = await server.create_product(stock=5)

    async with several_connected(server, 3) as (first, *others):
        await first.subscribe(WATCH, {"ids": [product_id]})
        await first.next()
        await server.purchase(product_id)
        assert await first.next() == {"stockChanged": {"stock": 4, "version": 2}}
        for client in others:
            await client.subscribe(WATCH, {"ids": [product_id]})
            assert await client.next() == {"stockChanged": {"stock": 4, "version": 2}}


async def test_every_id_comes_back_as_it_was_sent(server: Server, executions: list[Any]) -> None:
    product_id = await server.create_product()
    ids = ['"', "\\", "é😀", "}", "\n", "1"]

    async with connected(server) as client:
        for each in ids:
            await client.subscribe(WATCH, {"ids": [product_id]}, id=each)
            await client.next(each)
        await server.purchase(product_id)
        messages = [await client.receive() for _ in ids]

    assert [message["id"] for message in messages] == ids
    assert len(executions) == 2


async def test_the_order_of_the_variables_does_not_matter(server: Server) -> None:
    tee, cap = await server.create_product(), await server.create_product()

    async with connected(server) as client:
        for number, variables in enumerate(({"first": tee, "second": cap}, {"second": cap, "first": tee})):
            await client.subscribe(NAMED, variables, id=str(number))
            assert {(await client.next(str(number)))["stockChanged"]["productId"] for _ in range(2)} == {tee, cap}
        assert await broadcasts(server) == 1


SPELLINGS = [
    WATCH,
    f"  {WATCH}  ",
    WATCH.replace(" ", "\n\t , "),
    WATCH.replace("{ stock", "{ # the stock of a product\n stock"),
    "# live stock\n" + WATCH + "# and no more",
    "\ufeff" + WATCH.replace("{ stock version }", "{stock,version}"),
]


async def test_blanks_and_comments_do_not_matter(server: Server, executions: list[Any]) -> None:
    product_id = await server.create_product(stock=5)

    async with connected(server) as client:
        for number, spelling in enumerate(SPELLINGS):
            await client.subscribe(spelling, {"ids": [product_id]}, id=str(number))
            assert await client.next(str(number)) == {"stockChanged": {"stock": 5, "version": 1}}
        async with streaming(server, SPELLINGS[2], {"ids": [product_id]}) as stream:
            assert await stream.next() == {"stockChanged": {"stock": 5, "version": 1}}
            assert await broadcasts(server) == 1
    assert len(executions) == 1


async def test_another_text_and_other_values_share_nothing(server: Server) -> None:
    tee, cap = await server.create_product(), await server.create_product()

    async with connected(server) as client:
        different: list[tuple[str, dict[str, Any]]] = [
            (WATCH, {"ids": [tee]}),
            (WATCH, {"ids": [cap]}),
            (WATCH, {"ids": [tee, cap]}),
            (WATCH.replace("version", "stale"), {"ids": [tee]}),
        ]
        for number, (query, variables) in enumerate(different):
            await client.subscribe(query, variables, id=str(number))
            for _ in variables["ids"]:
                await client.next(str(number))

        assert await broadcasts(server) == len(different)


async def test_callers_of_every_kind_watch_one_broadcast_of_live_stock(settings: Settings) -> None:
    """Whether their tokens are valid or not: live stock is the same for all of them."""
    guests = GuestTokens([GUEST_KEY])
    valid = [guests.issue(time()).token, guests.issue(time()).token, ADMIN_TOKEN]
    tokens = [*valid, guests.issue(0.0).token, "a-wrong-token"]
    async with serving(replace(settings, guest_keys=(GUEST_KEY,))) as server, contextlib.AsyncExitStack() as sockets:
        product_id = await server.create_product(stock=5)
        for headers in ({}, *({"authorization": f"Bearer {token}"} for token in tokens)):
            client = await sockets.enter_async_context(connected(server, headers=headers))
            await client.subscribe(WATCH, {"ids": [product_id]})
            assert await client.next() == {"stockChanged": {"stock": 5, "version": 1}}
        assert await broadcasts(server) == 1


async def test_names_choose_among_the_operations_of_one_text(server: Server) -> None:
    product_id = await server.create_product(stock=5)
    query = WATCH.replace("subscription", "subscription A") + WATCH.replace("subscription", "subscription B").replace(
        "stock version", "soldOut"
    )

    async with connected(server) as client:
        for name, expected in (("A", {"stock": 5, "version": 1}), ("B", {"soldOut": False})):
            payload = {"query": query, "operationName": name, "variables": {"ids": [product_id]}}
            await client.send({"id": name, "type": "subscribe", "payload": payload})
            assert await client.next(name) == {"stockChanged": expected}
        assert await broadcasts(server) == 2


async def test_a_watcher_that_leaves_does_not_end_the_broadcast(server: Server) -> None:
    product_id = await server.create_product(stock=5)

    async with connected(server) as stays:
        async with connected(server) as leaves:
            for client in (leaves, stays):
                await client.subscribe(WATCH, {"ids": [product_id]})
                await client.next()
            await leaves.complete()
            leaves.connection.transport.abort()
        await server.purchase(product_id)
        assert await stays.next() == {"stockChanged": {"stock": 4, "version": 2}}


async def test_a_defect_with_one_watcher_does_not_stop_the_others(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await server.create_product(stock=5)
    original = Outlet.put

    def put(self: Outlet[Any], operation_id: str, subject: str | None, message: Any) -> bool:
        if operation_id == "cursed":
            raise RuntimeError("defect")
        return original(self, operation_id, subject, message)

    monkeypatch.setattr(Outlet, "put", put)
    async with connected(server) as cursed, connected(server) as client:
        await cursed.subscribe(WATCH, {"ids": [product_id]}, id="cursed")
        await client.subscribe(WATCH, {"ids": [product_id]})
        assert await client.next() == {"stockChanged": {"stock": 5, "version": 1}}
        await server.purchase(product_id)
        assert await client.next() == {"stockChanged": {"stock": 4, "version": 2}}

    assert "a watcher could not be sent an event" in caplog.text


async def test_all_watchers_of_an_unknown_product_are_refused_and_the_next_starts_anew(server: Server) -> None:
    async with connected(server) as client:
        for number in range(3):
            await client.subscribe(WATCH, {"ids": [UNKNOWN_ID]}, id=str(number))
        assert {(await client.receive())["type"] for _ in range(3)} == {"error"}
        await client.subscribe(WATCH, {"ids": [UNKNOWN_ID]}, id="again")
        assert (await client.error("again"))[0] == "NOT_FOUND"
        assert await broadcasts(server) == 0


async def test_variables_that_are_nested_too_deeply_are_refused(server: Server) -> None:
    nested: Any = "x"
    for _ in range(300):
        nested = [nested]

    async with connected(server) as client:
        await client.subscribe(WATCH, {"ids": nested})
        assert await client.error() == ("BAD_USER_INPUT", "The variables are nested too deeply.")


async def test_different_subscriptions_are_limited_and_leaving_makes_room(server: Server) -> None:
    fitting = 80
    fixed = {"ids": [await server.create_product()], "padding": ""}
    padding = MAX_CHARACTERS // fitting - FIXED_CHARACTERS - len(print_ast(parse(WATCH))) - len(orjson.dumps(fixed))

    def different(number: int) -> dict[str, Any]:
        """Variables with which a subscription takes an eightieth of the limit."""
        return {**fixed, "padding": str(number).zfill(padding)}

    await until_metrics(server, broadcasts=0)
    async with connected(server) as client:
        for number in range(fitting):
            await client.subscribe(WATCH, different(number), id=str(number))
            await client.next(str(number))
        await client.subscribe(WATCH, different(fitting), id="one more")
        assert (await client.error("one more"))[0] == "RATE_LIMITED"
        await client.subscribe(WATCH, different(0), id="shared")
        assert await client.next("shared") == {"stockChanged": {"stock": 10, "version": 1}}

        for each in ("0", "shared"):
            await client.complete(each)
        await client.subscribe(WATCH, different(fitting), id="one more")
        assert await client.next("one more") == {"stockChanged": {"stock": 10, "version": 1}}


async def test_a_stopping_server_closes_watchers_and_answers_purchases_first(
    settings: Settings, postgres_url: str
) -> None:
    """A socket with a purchase under way is closed after its answer."""
    async with contextlib.AsyncExitStack() as clients, contextlib.AsyncExitStack() as running:
        holding = await asyncpg.connect(postgres_url)
        clients.push_async_callback(holding.close)
        server = await running.enter_async_context(serving(settings))
        product_id = await server.create_product(stock=5)
        watcher = await clients.enter_async_context(connected(server))
        buyer = await clients.enter_async_context(connected(server))
        for client in (watcher, buyer):
            await client.subscribe(WATCH, {"ids": [product_id]}, id="watch")
            await client.next("watch")
        locked = holding.transaction()
        await locked.start()
        await holding.execute("UPDATE stock_shards SET stock = stock WHERE product_id = $1", product_id)
        wanted = {"input": {"productId": product_id, "userRef": "ada"}}
        await buyer.subscribe(BUY, wanted)
        await assert_alive(buyer)  # and the purchase has begun

        stopping = asyncio.create_task(running.aclose())
        assert await watcher.closed() == (1012, "The server restarts")
        await locked.rollback()
        assert await buyer.next() == {"purchase": {"status": "CONFIRMED"}}
        assert await buyer.receive() == {"id": "1", "type": "complete"}
        assert await buyer.closed() == (1012, "The server restarts")
        await stopping
