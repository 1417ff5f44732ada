"""Input that can never work: it is refused with a code and a message that helps, and changes nothing."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest

from tests.graphql.http_requests import CODES
from tests.graphql.operations import CANCEL, CREATE, ORDERS, PRODUCTS, RESTOCK, UNKNOWN_ID, stock_of
from tests.graphql.subscriptions import WATCH, streaming
from tests.protocol.raw import exchange
from tests.server import ADMIN_TOKEN, PURCHASE, Server

TOO_MANY = 2**31


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
async def product_id(server: Server) -> AsyncIterator[str]:
    """A product of ten units, of which none may be sold when the test ends."""
    created = await server.create_product(10)
    yield created
    assert await stock_of(server, created) == 10


async def assert_refused(
    server: Server, query: str, variables: dict[str, Any], expected: str, *, token: str | None = None
) -> None:
    """The operation ends with a code of CODES. The message matches `expected`, a regular expression, and shows nothing
    of the server's inside."""
    code, message = await server.refusal(query, variables, token=token)
    assert code in CODES
    assert re.search(expected, message), message
    assert not re.search(r"Traceback|asyncpg|File \"|\.py\b|SELECT|INSERT|UPDATE|127\.0\.0\.1|/tmp", message)


class TestPurchase:
    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"productId": "tee"}, "productId must be a UUID, such as .*, not 'tee'"),
            ({"productId": ""}, "productId must be a UUID"),
            ({"productId": "x" * 10_000}, "productId must be a UUID"),
            ({"productId": "\0"}, "productId must be a UUID"),
            ({"productId": 5}, "productId must be a UUID, such as .*, not '5'"),
            ({"productId": None}, r"productId: Expected value of non-null type 'ID!'"),
            ({"productId": []}, r"productId: ID cannot represent value"),
            ({"userRef": ""}, "userRef must have 1 to 200 characters, not 0"),
            ({"userRef": "x" * 201}, "userRef must have 1 to 200 characters, not 201"),
            ({"userRef": "a\0b"}, "userRef must not have the character U\\+0000"),
            ({"userRef": "\x1b[2J"}, "userRef must not have the character U\\+001B"),
            ({"userRef": None}, "this is for one buyer: name the buyer as userRef"),
            ({"userRef": 5}, "userRef: String cannot represent a non string value: 5"),
            ({"idempotencyKey": ""}, "idempotencyKey must have 1 to 200 characters, not 0"),
            ({"idempotencyKey": "x" * 201}, "idempotencyKey must have 1 to 200 characters, not 201"),
            ({"idempotencyKey": "a\0b"}, "idempotencyKey must not have the character U\\+0000"),
            ({"quantity": 0}, "quantity must be between 1 and 2147483647, not 0"),
            ({"quantity": -1}, "quantity must be between 1 and 2147483647, not -1"),
            ({"quantity": TOO_MANY}, "quantity: Int cannot represent non 32-bit signed integer value: 2147483648"),
            ({"quantity": 2**64}, "quantity: Int cannot represent non 32-bit signed integer value"),
            ({"quantity": 1.5}, "quantity: Int cannot represent non-integer value: 1.5"),
            ({"quantity": "1"}, "quantity: Int cannot represent non-integer value"),
            ({"quantity": None}, "quantity: Expected value of non-null type 'Int!'"),
            (
                {"region": "the-moon"},
                "unknown region 'the-moon'; name ap-northeast-1, ap-northeast-2, or leave region out",
            ),
            ({"region": ""}, "unknown region ''; name ap-northeast-1"),
            ({"region": "x" * 10_000}, "unknown region 'xxx"),
            ({"price": 5}, "unknown field 'price'"),
        ],
    )
    async def test_a_value_that_can_never_work_is_refused(
        self, server: Server, product_id: str, wrong: dict[str, Any], expected: str
    ) -> None:
        wanted = {"productId": product_id, "userRef": "ada", **wrong}
        await assert_refused(server, PURCHASE, {"input": wanted}, expected)

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ("quantity: 0", "quantity must be between 1 and 2147483647, not 0"),
            ("quantity: -1", "quantity must be between 1 and 2147483647, not -1"),
            ("quantity: 2147483648", "Int cannot represent non 32-bit signed integer value: 2147483648"),
            ("quantity: " + "9" * 5000, "Expected value of type 'Int'"),
            ("quantity: 1.0", "Int cannot represent non-integer value: 1.0"),
            ('userRef: "\\u0000"', "userRef must not have the character U\\+0000"),
            ('userRef: "\\ud800"', "Invalid Unicode escape sequence"),
            ('userRef: "\\u{d800}"', "Invalid Unicode escape sequence"),
            ('userRef: "\\udc00\\ud800"', "Invalid Unicode escape sequence"),
            ('idempotencyKey: "\\u0000"', "idempotencyKey must not have the character U\\+0000"),
        ],
    )
    async def test_a_literal_that_can_never_work_is_refused(
        self, server: Server, product_id: str, wrong: str, expected: str
    ) -> None:
        wanted = {"productId": f'productId: "{product_id}"', "userRef": 'userRef: "ada"'}
        wanted[wrong.partition(":")[0]] = wrong
        query = f"mutation {{ purchase(input: {{ {', '.join(wanted.values())} }}) {{ status }} }}"
        await assert_refused(server, query, {}, expected)

    async def test_a_lone_surrogate_in_json_is_refused(self, server: Server, product_id: str) -> None:
        body = f'{{"query": "{{ __typename }}", "variables": {{"input": {{"userRef": "\\ud800{product_id}"}}}}}}'
        headers = {"content-type": "application/json"}
        async with server.session.post(f"{server.url}/graphql", data=body.encode(), headers=headers) as response:
            assert response.status == 400
            [error] = (await response.json())["errors"]
            assert error["extensions"] == {"code": "BAD_USER_INPUT"}
            assert "surrogate" in error["message"]

    async def test_two_hundred_characters_of_any_script_are_accepted(self, server: Server) -> None:
        product_id = await server.create_product(3)
        for character in ("x", "字", "\N{PARTY POPPER}"):
            bought = await server.purchase(product_id, character * 200, idempotencyKey=character * 200)
            assert (bought["status"], bought["order"]["userRef"]) == ("CONFIRMED", character * 200)

    async def test_an_unknown_product_is_not_found(self, server: Server) -> None:
        refused = await server.refusal(PURCHASE, {"input": {"productId": UNKNOWN_ID, "userRef": "ada"}})
        assert refused == ("NOT_FOUND", f"there is no product {UNKNOWN_ID}")

    async def test_a_key_used_again_for_another_quantity_is_refused(self, server: Server) -> None:
        product_id = await server.create_product(10)
        wanted = {"productId": product_id, "userRef": "ada", "idempotencyKey": "click-1", "quantity": 2}
        bought = (await server.data(PURCHASE, {"input": wanted}))["purchase"]

        code, message = await server.refusal(PURCHASE, {"input": {**wanted, "quantity": 3}})

        assert code == "IDEMPOTENCY_KEY_REUSED"
        assert message == "this idempotencyKey was used to buy 2, not 3; use a new key for a new purchase"
        replayed = (await server.data(PURCHASE, {"input": wanted}))["purchase"]
        assert (replayed["order"]["id"], replayed["replayed"]) == (bought["order"]["id"], True)
        assert await stock_of(server, product_id) == 8


A_MOMENT = "a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset"


class TestProducts:
    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"name": ""}, "name must have 1 to 200 characters, not 0"),
            ({"name": "x" * 201}, "name must have 1 to 200 characters, not 201"),
            ({"name": "a\0b"}, "name must not have the character U\\+0000"),
            ({"dropName": ""}, "dropName must have 1 to 200 characters, not 0"),
            ({"dropName": "x" * 201}, "dropName must have 1 to 200 characters, not 201"),
            ({"stock": -1}, "stock must be between 0 and 2147483647, not -1"),
            ({"stock": TOO_MANY}, "stock: Int cannot represent non 32-bit signed integer value: 2147483648"),
            ({"limitPerBuyer": 0}, "limitPerBuyer must be between 1 and 2147483647, not 0"),
            ({"limitPerBuyer": -5}, "limitPerBuyer must be between 1 and 2147483647, not -5"),
            ({"opensAt": "2026-12-01T10:00:00"}, f"{A_MOMENT}, not '2026-12-01T10:00:00'"),
            ({"opensAt": "2026-12-01"}, f"{A_MOMENT}, not '2026-12-01'"),
            ({"opensAt": "tomorrow"}, f"{A_MOMENT}, not 'tomorrow'"),
            ({"opensAt": "2026-13-01T10:00:00Z"}, f"{A_MOMENT}, not '2026-13-01T10:00:00Z'"),
            ({"opensAt": 1_800_000_000}, f"{A_MOMENT}, not '1800000000'"),
        ],
    )
    async def test_a_product_that_can_never_work_is_refused(
        self, server: Server, wrong: dict[str, Any], expected: str
    ) -> None:
        drop = f"Refused {uuid4()}"
        product = {"name": "Tee", "dropName": drop, "stock": 1, **wrong}
        await assert_refused(server, CREATE, {"input": product}, expected, token=ADMIN_TOKEN)
        assert await server.data(PRODUCTS, {"dropName": drop}) == {"products": {"edges": []}}

    @pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
    async def test_an_opening_outside_the_calendar_is_refused(self, server: Server, moment: str) -> None:
        product = {"name": "Tee", "dropName": "Never", "stock": 1, "opensAt": moment}
        await assert_refused(server, CREATE, {"input": product}, "opensAt", token=ADMIN_TOKEN)

    @pytest.mark.parametrize(
        ("delta", "expected"),
        [
            (0, "delta must be between -2147483647 and 2147483647, and not 0"),
            (-11, "the stock is 10; 11 units cannot be taken back from it"),
            (TOO_MANY - 10, "no more than 2147483647 units can ever be put into one product"),
            (-TOO_MANY, "delta must be between -2147483647 and 2147483647"),
            (TOO_MANY, "delta: Int cannot represent non 32-bit signed integer value"),
        ],
    )
    async def test_a_restock_that_can_never_work_is_refused(
        self, server: Server, product_id: str, delta: int, expected: str
    ) -> None:
        restock = {"productId": product_id, "delta": delta}
        await assert_refused(server, RESTOCK, {"input": restock}, expected, token=ADMIN_TOKEN)

    async def test_a_restock_of_an_unknown_product_is_not_found(self, server: Server) -> None:
        refused = await server.refusal(RESTOCK, {"input": {"productId": UNKNOWN_ID, "delta": 1}}, token=ADMIN_TOKEN)
        assert refused == ("NOT_FOUND", f"there is no product {UNKNOWN_ID}")

    async def test_sold_units_can_come_back_to_a_full_stock(self, server: Server) -> None:
        product_id = await server.create_product(10)
        order_id = (await server.purchase(product_id, quantity=10))["order"]["id"]
        await server.ask(RESTOCK, {"input": {"productId": product_id, "delta": TOO_MANY - 1}}, token=ADMIN_TOKEN)

        cancelled = await server.data(CANCEL, {"input": {"orderId": order_id, "userRef": "ada"}})

        assert cancelled == {"cancelOrder": {"status": "CANCELLED"}}


class TestReading:
    @pytest.mark.parametrize("query", [PRODUCTS, ORDERS])
    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"first": 0}, "first must be between 1 and 100, not 0"),
            ({"first": -1}, "first must be between 1 and 100, not -1"),
            ({"first": 101}, "first must be between 1 and 100, not 101"),
            ({"first": TOO_MANY}, "Int cannot represent non 32-bit signed integer value"),
            ({"after": ""}, "after is not a cursor of .*; pass the endCursor of an earlier page"),
            ({"after": "garbage"}, "after is not a cursor"),
            ({"after": "é\0"}, "after is not a cursor"),
            ({"after": "x" * 10_000}, "after is not a cursor"),
            ({"after": "cHJvZHVjdHM6OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTo="}, "after is not a cursor"),
        ],
    )
    async def test_a_page_that_can_never_work_is_refused(
        self, server: Server, query: str, wrong: dict[str, Any], expected: str
    ) -> None:
        variables = wrong if query is PRODUCTS else {"userRef": "ada", **wrong}
        await assert_refused(server, query, variables, expected)

    async def test_a_cursor_of_another_list_or_cut_short_is_refused(self, server: Server) -> None:
        product_id = await server.create_product(10)
        await server.purchase(product_id, "cyd")
        [product, *_] = (await server.data(PRODUCTS))["products"]["edges"]
        [order] = (await server.data(ORDERS, {"userRef": "cyd"}))["orders"]["edges"]
        for after in (order["cursor"], product["cursor"][:-4], product["cursor"][4:], product["cursor"] + "AAAA"):
            await assert_refused(server, PRODUCTS, {"after": after}, "after is not a cursor of products")
        for after in (product["cursor"], order["cursor"][:-4]):
            await assert_refused(server, ORDERS, {"userRef": "cyd", "after": after}, "after is not a cursor of orders")

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"userRef": ""}, "userRef must have 1 to 200 characters, not 0"),
            ({"userRef": "x" * 201}, "userRef must have 1 to 200 characters, not 201"),
            ({"userRef": "\0"}, "userRef must not have the character U\\+0000"),
            ({"userRef": "ada", "productId": "tee"}, "productId must be a UUID"),
        ],
    )
    async def test_a_filter_of_orders_that_can_never_work_is_refused(
        self, server: Server, wrong: dict[str, Any], expected: str
    ) -> None:
        await assert_refused(server, ORDERS, wrong, expected)

    async def test_a_drop_name_that_can_never_work_is_refused(self, server: Server) -> None:
        await assert_refused(server, PRODUCTS, {"dropName": "x" * 201}, "dropName must have 1 to 200 characters")

    @pytest.mark.parametrize("field", ["product", "order"])
    async def test_a_malformed_id_is_refused_and_an_unknown_id_is_null(self, server: Server, field: str) -> None:
        query = f"query ($id: ID!) {{ {field}(id: $id) {{ id }} }}"
        await assert_refused(server, query, {"id": "x"}, "id must be a UUID")
        assert await server.data(query, {"id": UNKNOWN_ID}) == {field: None}


class TestCancelling:
    async def test_an_unknown_order_is_not_cancelled(self, server: Server) -> None:
        refused = await server.refusal(CANCEL, {"input": {"orderId": UNKNOWN_ID, "userRef": "ada"}})
        assert refused == ("NOT_FOUND", f"there is no order {UNKNOWN_ID}")
        await assert_refused(server, CANCEL, {"input": {"orderId": "x", "userRef": "ada"}}, "orderId must be a UUID")
        await assert_refused(
            server, CANCEL, {"input": {"orderId": UNKNOWN_ID, "userRef": ""}}, "userRef must have 1 to"
        )


@pytest.mark.parametrize(
    ("query", "variables", "field"),
    [
        (PURCHASE, {"input": {"productId": "tee"}}, "input.productId"),
        (PURCHASE, {"input": {"productId": UNKNOWN_ID, "quantity": 0, "userRef": "ada"}}, "input.quantity"),
        (PURCHASE, {"input": {"productId": UNKNOWN_ID, "quantity": "1"}}, "input.quantity"),
        (PURCHASE, {"input": {"productId": UNKNOWN_ID}}, "input.userRef"),
        (PURCHASE, {"input": {"productId": UNKNOWN_ID, "userRef": "ada", "region": "x"}}, "input.region"),
        (PURCHASE, {"input": 5}, "input"),
        (PRODUCTS, {"first": 0}, "first"),
        (PRODUCTS, {"after": "x"}, "after"),
        ("query ($id: ID!) { a: product(id: $id) { id } }", {"id": "tee"}, "id"),
        (
            'query ($now: DateTime) { orders(userRef: "a", since: $now, until: $now) { edges { cursor } } }',
            {"now": "2026-12-01T10:00:00Z"},
            "until",
        ),
    ],
)
async def test_an_error_names_the_path_of_the_value(
    server: Server, query: str, variables: dict[str, Any], field: str | None
) -> None:
    [error] = (await server.ask(query, variables))["errors"]
    assert error["extensions"].get("field") == field, error


async def test_an_error_names_the_item_of_a_list(server: Server) -> None:
    async with streaming(server, WATCH, {"ids": [UNKNOWN_ID, None]}) as stream:
        _, response = await stream.event()
    assert response["errors"][0]["extensions"] == {"code": "BAD_USER_INPUT", "field": "ids.1"}


async def test_bytes_that_are_not_http_are_answered_with_400(server: Server) -> None:
    [answer] = await exchange(server, [b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n"])
    assert answer.status == 400
    assert await server.data("{ __typename }") == {"__typename": "Query"}
