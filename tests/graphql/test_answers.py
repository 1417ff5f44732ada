"""What clients are told through the API: no more than is known, and of every field what became of it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from graphql import GraphQLError

from api.database.connect import ConnectTimes
from api.database.endpoint import Endpoint
from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.errors import DropError
from api.drops.orders import list_orders
from api.graphql.errors import format_error
from api.settings import Settings
from tests.dsql.stand_in import StandIn
from tests.graphql.stranger import connection, event_stream
from tests.graphql.transport import connected
from tests.patience import PATIENCE, PATIENT_TIMES, until
from tests.regions import HOME
from tests.server import ADMIN_TOKEN, Server, serving

CANCEL = "mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) { status } }"
BUY = """
mutation ($product: ID!, $buyer: String!, $key: String) {
  purchase(input: {productId: $product, userRef: $buyer, idempotencyKey: $key}) { status }
}
"""


@pytest.fixture
async def fragile(settings: Settings, home: StandIn) -> AsyncIterator[Server]:
    """A server whose one Region fails on demand, and whose purchases are tried four times."""
    times = replace(PATIENT_TIMES, pool=replace(PATIENT_TIMES.pool, connect=ConnectTimes(timeout=PATIENCE, attempts=1)))
    here = replace(settings, endpoints=(Endpoint(HOME, home.url),), budget=RetryBudget(attempts=4), region_times=times)
    async with serving(here) as server:
        yield server


class TestSeveralMutationsInOneRequest:
    async def test_the_refusal_of_one_hides_nothing_of_the_others(self, server: Server) -> None:
        product_id = await server.create_product(stock=5)
        answer = await server.ask(
            """
            mutation ($product: ID!) {
              first: purchase(input: {productId: $product, userRef: "ada"}) { status }
              refused: purchase(input: {productId: $product, userRef: ""}) { status }
              forbidden: restock(input: {productId: $product, delta: 1}) { stock }
              last: purchase(input: {productId: $product, userRef: "bob"}) { status }
            }
            """,
            {"product": product_id},
        )
        sold = {"status": "CONFIRMED"}
        assert answer["data"] == {"first": sold, "refused": None, "forbidden": None, "last": sold}
        assert [(error["path"], error["extensions"]["code"]) for error in answer["errors"]] == [
            (["refused"], "BAD_USER_INPUT"),
            (["forbidden"], "UNAUTHENTICATED"),
        ]


async def test_a_cancellation_whose_commit_was_lost_before_an_outage_is_not_known_yet(
    fragile: Server, home: StandIn
) -> None:
    product_id = await fragile.create_product(stock=5)
    order_id = (await fragile.purchase(product_id))["order"]["id"]
    home.commit_arrived.clear()
    home.cut_after_commit = 1
    cancelling = asyncio.create_task(fragile.refusal(CANCEL, {"input": {"orderId": order_id}}, token=ADMIN_TOKEN))
    await asyncio.wait_for(home.commit_arrived.wait(), PATIENCE)
    home.internal_errors = 1000
    code, message = await cancelling
    assert code == "SERVICE_UNAVAILABLE"
    assert "it is not known yet whether this was done" in message
    assert "nothing was changed" not in message


async def test_a_key_whose_order_was_cancelled_is_answered_as_cancelled(server: Server) -> None:
    product_id = await server.create_product(stock=5)
    wanted = {"input": {"productId": product_id, "userRef": "ada", "idempotencyKey": "click-1"}}
    query = """
    mutation ($input: PurchaseInput!) {
      purchase(input: $input) {
        __typename status
        ... on PurchaseConfirmed { order { id } }
        ... on PurchaseCancelled { message order { id status product { stock } } }
      }
    }
    """
    bought = (await server.data(query, wanted))["purchase"]
    order_id = bought["order"]["id"]
    await server.data(CANCEL, {"input": {"orderId": order_id, "userRef": "ada"}})
    assert (await server.data(query, wanted))["purchase"] == {
        "__typename": "PurchaseCancelled",
        "status": "CANCELLED",
        "message": "This purchase was confirmed before and has been cancelled since; use a new key to buy again.",
        "order": {"id": order_id, "status": "CANCELLED", "product": {"stock": 5}},
    }


class TestFaultsOfTheDatabase:
    async def test_a_cluster_that_wakes_up_is_unavailable_and_no_defect(
        self, fragile: Server, home: StandIn, caplog: pytest.LogCaptureFixture
    ) -> None:
        product_id = await fragile.create_product(stock=5)
        home.down()
        await home.up()
        home.waking_up = 1000
        unavailable = (
            "The database cannot be reached right now, and nothing was changed by this request. Try again in a moment."
        )
        assert await fragile.refusal("{ products { edges { cursor } } }") == ("SERVICE_UNAVAILABLE", unavailable)
        variables = {"product": product_id, "buyer": "ada"}
        assert await fragile.refusal(BUY, variables) == ("SERVICE_UNAVAILABLE", unavailable)
        assert "defect" not in caplog.text

    def test_every_error_of_the_rooms_below_has_a_code(self) -> None:
        def all_of(kind: type[Exception]) -> Iterator[type[Exception]]:
            for each in kind.__subclasses__():
                yield each
                yield from all_of(each)

        def code_of(kind: type[Exception]) -> str:
            error = GraphQLError("wrapped", path=["purchase"], original_error=kind.__new__(kind))
            code: str = format_error(error)["extensions"]["code"]
            return code

        faults, drops = set(all_of(DatabaseError)), set(all_of(DropError))
        assert {kind.__name__ for kind in faults} >= {"Conflict", "Unavailable", "WakingUp", "OutcomeUnknown"}
        assert {code_of(kind) for kind in faults} == {"SERVICE_UNAVAILABLE"}
        assert "INTERNAL" not in {code_of(kind) for kind in drops}


class TestARequestWhoseClientHasLeft:
    """It waits in line behind a purchase whose transaction cannot go on."""

    async def test_over_http_it_leaves_the_line_and_buys_nothing(self, server: Server, behind: Pool) -> None:
        product_id = await server.create_product(stock=5)

        async def leave() -> None:
            async with connection(server) as leaving:
                leaving.transport.write(post(BUY, {"product": product_id, "buyer": "bob"}))
                await until_waiting(server, 2)

        await self.with_one_in_flight(server, behind, product_id, leave)
        assert [order.user_ref for order in (await list_orders(behind, 10)).items] == ["ada"]

    async def test_over_a_websocket_too(self, server: Server, behind: Pool) -> None:
        product_id = await server.create_product(stock=5)

        async def leave() -> None:
            async with connected(server) as client:
                await client.subscribe(BUY, {"product": product_id, "buyer": "bob"})
                await until_waiting(server, 2)

        await self.with_one_in_flight(server, behind, product_id, leave)
        assert [order.user_ref for order in (await list_orders(behind, 10)).items] == ["ada"]

    async def test_the_mutations_behind_it_in_the_same_request_are_not_begun(
        self, server: Server, behind: Pool
    ) -> None:
        product_id = await server.create_product(stock=5)
        another_id = await server.create_product(stock=5)
        two = f"""
        mutation ($product: ID!, $buyer: String!) {{
          purchase(input: {{productId: $product, userRef: $buyer}}) {{ status }}
          another: purchase(input: {{productId: "{another_id}", userRef: $buyer}}) {{ status }}
        }}
        """

        async def leave() -> None:
            async with connection(server) as leaving:
                leaving.transport.write(post(two, {"product": product_id, "buyer": "bob"}))
                await until_waiting(server, 2)

        await self.with_one_in_flight(server, behind, product_id, leave)
        assert (await server.purchase(another_id, "cyd"))["remaining"] == 4

    async def with_one_in_flight(self, server: Server, behind: Pool, product_id: str, leave: Any) -> None:
        """Let ada's transaction wait for the product's row while another client comes and leaves."""
        async with behind.begin() as transaction:
            await transaction.fetch("SELECT 1 FROM inventory WHERE product_id = $1 FOR UPDATE", product_id)
            ada = asyncio.create_task(server.purchase(product_id, "ada"))
            await until_waiting(server, 1)
            await until(lambda: a_lock_is_waited_for(behind))
            await leave()
        assert (await ada)["status"] == "CONFIRMED"
        await until_waiting(server, 0)


def post(query: str, variables: dict[str, Any]) -> bytes:
    """The operation over HTTP, to be answered with JSON."""
    return event_stream(query, variables).replace(b"Accept: text/event-stream\r\n", b"")


async def a_lock_is_waited_for(behind: Pool) -> bool:
    blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return bool(await behind.fetch(blocked))


async def until_waiting(server: Server, number: int) -> None:
    """Wait until so many purchases wait, in line and in flight."""

    async def so_many_wait() -> bool:
        async with server.session.get(f"{server.url}/metrics") as response:
            lines = (await response.text()).splitlines()
        waiting = [line for line in lines if line.startswith("dropzero_purchases_waiting{")]
        return sum(float(line.rpartition(" ")[2]) for line in waiting) == number

    await until(so_many_wait)


async def test_a_full_disk_is_named_in_the_log_and_not_to_the_client(
    server: Server, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await server.create_product()
    await behind.execute(
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
    )
    await behind.execute("CREATE TRIGGER fill BEFORE UPDATE ON inventory FOR EACH ROW EXECUTE FUNCTION fill()")
    code, message = await server.refusal(BUY, {"product": product_id, "buyer": "ada"})
    assert code == "SERVICE_UNAVAILABLE"
    assert "nothing was changed" in message
    assert "disk" not in message + code
    line = "Unavailable: 53100: could not extend file: No space left on device"
    assert any(logged.endswith(line) for logged in caplog.messages)
