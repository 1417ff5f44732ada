"""What happens to orders, as operators read it: the list, and the subscription."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson
import pytest

from api.database.pool import Pool
from api.drops.event_log import MAX_PAGES, PAGE, encode_position
from api.drops.events import order_data
from api.drops.orders import get_order
from api.graphql.outlet import MAX_WAITING
from api.settings import Settings, SocketTimes
from tests.graphql.callers import ADA, BOB, OLGA, OPERATOR, PIA, SUE, Shop
from tests.graphql.holds import OpenTill, Till
from tests.graphql.operations import RESTOCK
from tests.graphql.stranger import connection, subscribe
from tests.graphql.subscriptions import streaming, until_metrics
from tests.graphql.transport import Client, connected
from tests.patience import PATIENCE, short, until
from tests.server import ADMIN_TOKEN, Server, serving

FIELDS = "id cursor type occurredAt order { id status heldUntil confirmedAt paymentRef userRef product { id } }"
PAGE_OF_EVENTS = f"""
query ($first: Int, $after: String) {{
  orderEvents(first: $first, after: $after) {{
    edges {{ cursor node {{ {FIELDS} }} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
  }}
}}
"""
CHANGES = f"subscription ($product: ID) {{ ordersChanged(productId: $product) {{ {FIELDS} }} }}"
WIDE = f"subscription {{ ordersChanged {{ {' '.join(f'{letter * 780}: id' for letter in 'abcdefghij')} }} }}"
"""Each event takes 8 KB."""

INSERT = """
INSERT INTO events (position, id, type, occurred_at, product_id, order_id, data)
SELECT (SELECT coalesce(max(position), 0) FROM events) + number, gen_random_uuid(), 'order.confirmed', now(), $1, $2, $3
FROM generate_series(1, $4::integer) AS number
"""


@pytest.fixture
def engine() -> str:
    return "postgresql"


async def pages(shop: Shop, first: int = 100, after: str | None = None, caller: str = SUE) -> list[dict[str, Any]]:
    """All events after a cursor, read page by page."""
    events: list[dict[str, Any]] = []
    more = True
    while more:
        variables = {"first": first, "after": after}
        page = (await shop.server.data(PAGE_OF_EVENTS, variables, token=shop.token(caller)))["orderEvents"]
        info, cursors = page["pageInfo"], [edge["cursor"] for edge in page["edges"]]
        assert cursors == [edge["node"]["cursor"] for edge in page["edges"]]
        assert (info["startCursor"], info["endCursor"]) == ((cursors[0], cursors[-1]) if cursors else (None, None))
        assert info["hasPreviousPage"] == (after is not None)
        events += [edge["node"] for edge in page["edges"]]
        more, after = info["hasNextPage"], info["endCursor"]
    return events


async def events_of(till: Till, count: int) -> list[dict[str, Any]]:
    """The events of the product's orders, when there are `count` of them."""

    async def found() -> list[dict[str, Any]]:
        return [each for each in await pages(till.shop) if each["order"]["product"]["id"] == till.product_id]

    async def enough() -> bool:
        return len(await found()) >= count

    await until(enough)
    return await found()


async def insert_events(pool: Pool, order_id: str, count: int) -> None:
    """Insert events of an order, as a relay does."""
    order = await get_order(pool, order_id)  # type: ignore[arg-type]  # asyncpg takes the text of a UUID
    assert order is not None
    await pool.execute(INSERT, order.product_id, order.id, orjson.dumps(order_data(order)).decode(), count)


@asynccontextmanager
async def following(till: Till, caller: str = SUE, product_id: str | None = None) -> AsyncIterator[Client]:
    """A socket that has subscribed to the events of orders."""
    async with connected(till.shop.server, init=False) as client:
        await client.init({"authorization": f"Bearer {till.shop.token(caller)}"})
        before = (await till.shop.server.metrics())["dropzero_order_followers"]
        await client.subscribe(CHANGES, {"product": product_id})
        await until_metrics(till.shop.server, order_followers=int(before) + 1)
        yield client


async def test_each_thing_that_happens_to_an_order_is_an_event(till: Till) -> None:
    paid, late, cancelled = await till.hold(), await till.hold(BOB), await till.hold()
    await till.confirm(paid, "pi_1")
    await till.confirm(paid, "pi_1")
    await till.lapse(late)
    await till.confirm(late, "pi_2")
    await till.release(cancelled)
    await till.release(cancelled)
    await till.shop.server.data(RESTOCK, {"input": {"productId": till.product_id, "delta": 5}}, token=ADMIN_TOKEN)
    await till.cancel(paid)

    events = await events_of(till, 8)

    assert [(each["type"], each["order"]["id"], each["order"]["status"]) for each in events] == [
        ("HELD", paid, "HELD"),
        ("HELD", late, "HELD"),
        ("HELD", cancelled, "HELD"),
        ("CONFIRMED", paid, "CONFIRMED"),
        ("LAPSED", late, "LAPSED"),
        ("CONFIRMED", late, "CONFIRMED"),
        ("CANCELLED", cancelled, "CANCELLED"),
        ("CANCELLED", paid, "CANCELLED"),
    ]
    assert [each["order"]["paymentRef"] for each in events] == [None, None, None, "pi_1", None, "pi_2", None, "pi_1"]
    assert [each["order"]["userRef"] for each in events] == [ADA, BOB, ADA, ADA, BOB, BOB, ADA, ADA]
    assert [each["order"]["heldUntil"] is None for each in events] == [False] * 3 + [True] * 5
    assert len({each["id"] for each in events}) == 8
    assert [each["occurredAt"] for each in events] == sorted(each["occurredAt"] for each in events)


async def test_an_order_that_needs_no_payment_has_one_event(open_till: OpenTill) -> None:
    till = await open_till(holdSeconds=None)
    order_id = (await till.buy())["order"]["id"]
    [event] = await events_of(till, 1)
    assert (event["type"], event["order"]["id"], event["order"]["paymentRef"]) == ("CONFIRMED", order_id, None)
    assert event["occurredAt"] >= event["order"]["confirmedAt"]


async def test_a_reader_that_goes_on_from_its_last_cursor_misses_nothing(till: Till) -> None:
    await till.hold()
    [first, *_] = await events_of(till, 1)
    bought = [await till.hold() for _ in range(7)]
    await events_of(till, 8)

    for size in (1, 3, 100):
        read = [each["order"]["id"] for each in await pages(till.shop, size, first["cursor"])]
        assert [order_id for order_id in read if order_id in bought] == bought


@pytest.mark.parametrize("after", ["x", "", "b3JkZXJzOjE=", encode_position(10**15)])
async def test_a_cursor_of_something_else_is_refused(till: Till, after: str) -> None:
    code, message = await till.refusal(PAGE_OF_EVENTS, {"after": after}, OLGA)
    assert code == "BAD_USER_INPUT"
    assert "after is" in message


@pytest.mark.parametrize("first", [0, 101, -1])
async def test_a_page_has_1_to_100_events(till: Till, first: int) -> None:
    assert (await till.refusal(PAGE_OF_EVENTS, {"first": first}, OLGA))[0] == "BAD_USER_INPUT"


async def test_a_follower_gets_each_event_once_and_in_order(till: Till) -> None:
    async with following(till, product_id=till.product_id) as client:
        orders = [await till.hold() for _ in range(5)]
        for order_id in orders:
            await till.confirm(order_id, f"pi of {order_id}")
        got = [(await client.next())["ordersChanged"] for _ in range(10)]

    assert got == await events_of(till, 10)
    assert [each["order"]["paymentRef"] for each in got] == [None] * 5 + [f"pi of {order_id}" for order_id in orders]


async def test_a_follower_of_one_product_gets_no_event_of_another(open_till: OpenTill) -> None:
    tee, cap = await open_till(), await open_till()
    async with following(tee, product_id=tee.product_id) as of_tee, following(tee, OLGA) as of_all:
        capped, teed = await cap.hold(), await tee.hold()
        assert (await of_tee.next())["ordersChanged"]["order"]["id"] == teed
        assert [(await of_all.next())["ordersChanged"]["order"]["id"] for _ in range(2)] == [capped, teed]


async def test_an_event_stream_has_the_same_events(till: Till) -> None:
    headers = {"authorization": f"Bearer {till.shop.token(OPERATOR)}"}
    server = till.shop.server
    async with streaming(server, CHANGES, {"product": till.product_id}, headers=headers) as stream:
        await until_metrics(server, order_followers=1)
        order_id = await till.hold()
        assert (await stream.next())["ordersChanged"]["order"]["id"] == order_id
        await till.release(order_id)
        assert (await stream.next())["ordersChanged"]["type"] == "CANCELLED"
    await until_metrics(server, order_followers=0)


async def test_callers_share_no_execution_with_others(till: Till) -> None:
    async with following(till, SUE), following(till, OLGA), following(till, OPERATOR):
        assert (await till.shop.server.metrics())["dropzero_broadcasts"] == 3
        async with connected(till.shop.server, headers={"authorization": f"Bearer {till.shop.token(PIA)}"}) as pia:
            await pia.subscribe(CHANGES)
            code, message = await pia.error()
    assert (code, "support" in message) == ("FORBIDDEN", True)


async def test_a_follower_that_subscribes_before_it_reads_misses_nothing(till: Till) -> None:
    async with following(till, product_id=till.product_id) as client:
        before = [await till.hold() for _ in range(3)]
        read = {each["id"]: each["order"]["id"] for each in await events_of(till, 3)}
        after = [await till.hold() for _ in range(3)]
        for _ in range(6):
            event = (await client.next())["ordersChanged"]
            read[event["id"]] = event["order"]["id"]
    assert list(read.values()) == before + after


async def test_the_end_of_the_token_ends_the_subscription(till: Till) -> None:
    leeway = 30  # of the times in tokens, see IssuerSettings
    token = till.shop.token(SUE, exp=int(time.time() + short(2.0)) - leeway)
    async with connected(till.shop.server, headers={"authorization": f"Bearer {token}"}) as client:
        await client.subscribe(CHANGES)
        code, message = await client.error()
    assert code == "UNAUTHENTICATED"
    assert "expired" in message


async def test_events_that_come_too_fast_end_the_subscription_with_what_to_do(till: Till) -> None:
    order_id = await till.hold()
    await events_of(till, 1)
    count = 3 * MAX_PAGES * PAGE
    async with following(till, product_id=till.product_id) as client:
        await insert_events(till.pool, order_id, count)
        got: list[str] = []
        while (message := await client.receive())["type"] == "next":
            got.append(message["payload"]["data"]["ordersChanged"]["id"])

    [error] = message["payload"]
    assert (message["type"], error["extensions"]["code"]) == ("error", "SERVICE_UNAVAILABLE")
    assert "orderEvents" in error["message"]
    rows = await till.pool.fetch("SELECT id FROM events WHERE order_id = $1 ORDER BY position OFFSET 1", order_id)
    assert 0 < len(got) < count
    assert got == [str(row["id"]) for row in rows[: len(got)]], "no event is left out before the end"


@pytest.mark.slow
async def test_a_follower_that_does_not_read_is_ended_and_learns_it(settings: Settings, pool: Pool) -> None:
    patient = replace(settings, socket_times=SocketTimes(send=PATIENCE), events=True)
    async with serving(patient) as server, connection(server) as stalled:
        order_id = (await server.purchase(await server.create_product()))["order"]["id"]
        await stalled.open_session({"authorization": f"Bearer {ADMIN_TOKEN}"})
        await stalled.send(subscribe(WIDE, {}))
        await until_metrics(server, order_followers=1)
        stalled.transport.pause_reading()

        await insert_events(pool, order_id, MAX_WAITING + 500)
        await until_metrics(server, order_followers=0, watchers=0)

        stalled.transport.resume_reading()
        await stalled.until(b"Read on with orderEvents")


@pytest.mark.parametrize("document", [PAGE_OF_EVENTS, CHANGES])
async def test_a_server_without_events_answers_how_to_keep_them(server: Server, document: str) -> None:
    for token, expected in ((None, "UNAUTHENTICATED"), (ADMIN_TOKEN, "BAD_USER_INPUT")):
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        async with connected(server, headers=headers) as client:
            await client.subscribe(document)
            message = await client.receive()
        errors = message["payload"] if message["type"] == "error" else message["payload"]["errors"]
        assert [error["extensions"]["code"] for error in errors] == [expected]
        if token is not None:
            assert "DROPZERO_WEBHOOK_URL" in errors[0]["message"]
            assert "DROPZERO_EVENTS=on" in errors[0]["message"]


async def test_followers_of_a_server_that_stops_are_disconnected(settings: Settings) -> None:
    async with serving(replace(settings, events=True)) as server:
        client_of = connected(server, headers={"authorization": f"Bearer {ADMIN_TOKEN}"})
        client = await client_of.__aenter__()
        await client.subscribe(CHANGES)
        await until_metrics(server, order_followers=1)
        product_id = await server.create_product()
        bought = asyncio.create_task(server.purchase(product_id))
        assert (await client.next())["ordersChanged"]["type"] == "CONFIRMED"
        await bought
    assert (await client.closed())[0] == 1012
    await client_of.__aexit__(None, None, None)
