"""The answers of the API: each field has its own result or error, and no answer claims more than is known."""

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
from api.drops.order_search import list_orders
from api.graphql.errors import format_error
from api.settings import Settings
from tests.dsql.stand_in import StandIn
from tests.graphql.operations import CANCEL
from tests.graphql.several import until_waiting
from tests.graphql.stranger import connection, event_stream
from tests.graphql.transport import connected
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE, PATIENT_TIMES
from tests.regions import HOME
from tests.server import ADMIN_TOKEN, Server, serving

BUY = """
mutation ($product: ID!, $buyer: String!, $key: String) {
  purchase(input: {productId: $product, userRef: $buyer, idempotencyKey: $key}) { status }
}
"""


@pytest.fixture
async def fragile(settings: Settings, home: StandIn) -> AsyncIterator[Server]:
    """A server whose one Region fails on demand, and whose purchases have four attempts."""
    times = replace(PATIENT_TIMES, pool=replace(PATIENT_TIMES.pool, connect=ConnectTimes(timeout=PATIENCE, attempts=1)))
    here = replace(settings, endpoints=(Endpoint(HOME, home.url),), budget=RetryBudget(attempts=4), region_times=times)
    async with serving(here) as server:
        yield server


class TestSeveralMutationsInOneRequest:
    async def test_the_refusal_of_one_hides_no_result_of_the_others(self, server: Server) -> None:
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


async def test_a_cancellation_with_a_lost_commit_is_answered_as_not_known_yet(fragile: Server, home: StandIn) -> None:
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
        "message": "This purchase was made before and it has been cancelled since; use a new key to buy again.",
        "order": {"id": order_id, "status": "CANCELLED", "product": {"stock": 5}},
    }


class TestFaultsOfTheDatabase:
    async def test_a_cluster_that_wakes_up_is_answered_as_unavailable(
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

    def test_every_error_of_the_database_and_of_drops_has_a_code(self) -> None:
        def all_of(kind: type[Exception]) -> Iterator[type[Exception]]:
            for each in kind.__subclasses__():
                yield each
                yield from all_of(each)

        def code_of(kind: type[Exception]) -> str:
            error = GraphQLError("wrapped", path=["purchase"], original_error=kind.__new__(kind))
            code: str = format_error(error)["extensions"]["code"]
            return code

        def says_when_to_come_back(kind: type[Exception]) -> bool:
            error = GraphQLError("wrapped", path=["purchase"], original_error=kind.__new__(kind))
            return bool(1_000 <= format_error(error)["extensions"].get("retryAfterMs", 0) <= 1_500)

        faults, drops = set(all_of(DatabaseError)), set(all_of(DropError))
        assert {kind.__name__ for kind in faults} >= {"Conflict", "Unavailable", "WakingUp", "OutcomeUnknown"}
        assert {code_of(kind) for kind in faults} == {"SERVICE_UNAVAILABLE"}
        assert {kind.__name__ for kind in faults if not says_when_to_come_back(kind)} == {"OutcomeUnknown"}
        assert "INTERNAL" not in {code_of(kind) for kind in drops}


class TestARequestWhoseClientHasLeft:
    """Its purchase waits in line behind another, whose transaction waits for a lock."""

    async def test_its_purchase_over_http_leaves_the_line_and_buys_nothing(self, server: Server, behind: Pool) -> None:
        product_id = await server.create_product(stock=5)

        async def leave() -> None:
            async with connection(server) as leaving:
                leaving.transport.write(post(BUY, {"product": product_id, "buyer": "bob"}))
                await until_waiting(server, 2)

        await self.with_one_in_flight(server, behind, product_id, leave)
        assert [order.user_ref for order in (await list_orders(behind, 10)).items] == ["ada"]

    async def test_its_purchase_over_a_websocket_leaves_the_line_and_buys_nothing(
        self, server: Server, behind: Pool
    ) -> None:
        product_id = await server.create_product(stock=5)

        async def leave() -> None:
            async with connected(server) as client:
                await client.subscribe(BUY, {"product": product_id, "buyer": "bob"})
                await until_waiting(server, 2)

        await self.with_one_in_flight(server, behind, product_id, leave)
        assert [order.user_ref for order in (await list_orders(behind, 10)).items] == ["ada"]

    async def test_its_later_mutations_are_not_executed(self, server: Server, behind: Pool) -> None:
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
        async with stock_held(behind, product_id):
            ada = asyncio.create_task(server.purchase(product_id, "ada"))
            await until_waiting(server, 1)
            await until_blocked(behind)
            await leave()
        assert (await ada)["status"] == "CONFIRMED"
        await until_waiting(server, 0)


def post(query: str, variables: dict[str, Any]) -> bytes:
    """The request for an operation whose answer is JSON."""
    return event_stream(query, variables).replace(b"Accept: text/event-stream\r\n", b"")


async def test_a_full_disk_is_named_in_the_log_and_not_in_the_answer(
    server: Server, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await server.create_product()
    await behind.execute(
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$"
    )
    await behind.execute("CREATE TRIGGER fill BEFORE UPDATE ON stock_shards FOR EACH ROW EXECUTE FUNCTION fill()")
    code, message = await server.refusal(BUY, {"product": product_id, "buyer": "ada"})
    assert code == "SERVICE_UNAVAILABLE"
    assert "nothing was changed" in message
    assert "disk" not in message + code
    line = "Unavailable: 53100: could not extend file: No space left on device"
    assert any(line in logged for logged in caplog.messages)
