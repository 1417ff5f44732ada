"""What can never work is refused with a code and a message that helps, and changes nothing."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from api.database.pool import Pool
from api.settings import Settings
from tests.graphql.operations import CANCEL, CREATE, ORDERS, PRODUCTS, RESTOCK, stock_of
from tests.server import ADMIN_TOKEN, PURCHASE, Server, serving

NOBODY = "00000000-0000-4000-8000-000000000000"
TOO_MANY = 2**31


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture
async def product_id(server: Server) -> AsyncIterator[str]:
    """A product of ten units, which must be there and unsold when the test ends."""
    created = await server.create_product(10)
    yield created
    assert await stock_of(server, created) == 10


async def assert_refused(
    server: Server, query: str, variables: dict[str, Any], expected: str, *, token: str | None = None
) -> None:
    """The operation ends with BAD_USER_INPUT, and a message with `expected` (a regular expression) in it that
    shows nothing of our inside."""
    code, message = await server.refusal(query, variables, token=token)
    assert code == "BAD_USER_INPUT"
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
            ({"userRef": None}, "userRef: Expected value of non-null type 'String!'"),
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

    async def test_two_hundred_characters_of_any_script_do_work(self, server: Server) -> None:
        product_id = await server.create_product(3)
        for character in ("x", "字", "\N{PARTY POPPER}"):
            bought = await server.purchase(product_id, character * 200, idempotencyKey=character * 200)
            assert (bought["status"], bought["order"]["userRef"]) == ("CONFIRMED", character * 200)

    async def test_an_unknown_product_is_not_found(self, server: Server) -> None:
        refused = await server.refusal(PURCHASE, {"input": {"productId": NOBODY, "userRef": "ada"}})
        assert refused == ("NOT_FOUND", f"there is no product {NOBODY}")

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
            (
                {"opensAt": "2026-12-01T10:00:00"},
                "a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset, not '2026-12-01T10:00:00'",
            ),
            (
                {"opensAt": "2026-12-01"},
                "a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset, not '2026-12-01'",
            ),
            (
                {"opensAt": "tomorrow"},
                "a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset, not 'tomorrow'",
            ),
            (
                {"opensAt": "2026-13-01T10:00:00Z"},
                "a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset, not '2026-13-01T10:00:00Z'",
            ),
            (
                {"opensAt": 1_800_000_000},
                "a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset, not '1800000000'",
            ),
        ],
    )
    async def test_a_product_that_can_never_be_is_refused(
        self, server: Server, wrong: dict[str, Any], expected: str
    ) -> None:
        drop = f"Refused {uuid4()}"
        product = {"name": "Tee", "dropName": drop, "stock": 1, **wrong}
        await assert_refused(server, CREATE, {"input": product}, expected, token=ADMIN_TOKEN)
        assert await server.data(PRODUCTS, {"dropName": drop}) == {"products": {"edges": []}}

    @pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
    async def test_a_moment_at_the_end_of_time_is_refused(self, server: Server, moment: str) -> None:
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
    async def test_a_restock_that_can_never_be_is_refused(
        self, server: Server, product_id: str, delta: int, expected: str
    ) -> None:
        restock = {"productId": product_id, "delta": delta}
        await assert_refused(server, RESTOCK, {"input": restock}, expected, token=ADMIN_TOKEN)

    async def test_a_restock_of_an_unknown_product_is_not_found(self, server: Server) -> None:
        refused = await server.refusal(RESTOCK, {"input": {"productId": NOBODY, "delta": 1}}, token=ADMIN_TOKEN)
        assert refused == ("NOT_FOUND", f"there is no product {NOBODY}")

    async def test_units_that_were_sold_have_room_to_come_back(self, server: Server) -> None:
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
    async def test_a_page_that_can_never_be_is_refused(
        self, server: Server, query: str, wrong: dict[str, Any], expected: str
    ) -> None:
        variables = wrong if query is PRODUCTS else {"userRef": "ada", **wrong}
        await assert_refused(server, query, variables, expected)

    async def test_a_cursor_of_the_other_list_and_one_cut_short_are_refused(self, server: Server) -> None:
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
    async def test_orders_of_what_can_never_be_are_refused(
        self, server: Server, wrong: dict[str, Any], expected: str
    ) -> None:
        await assert_refused(server, ORDERS, wrong, expected)

    async def test_products_of_a_drop_that_can_never_be_are_refused(self, server: Server) -> None:
        await assert_refused(server, PRODUCTS, {"dropName": "x" * 201}, "dropName must have 1 to 200 characters")

    @pytest.mark.parametrize("field", ["product", "order"])
    async def test_one_of_a_malformed_id_is_refused_and_of_an_unknown_one_is_null(
        self, server: Server, field: str
    ) -> None:
        query = f"query ($id: ID!) {{ {field}(id: $id) {{ id }} }}"
        await assert_refused(server, query, {"id": "x"}, "id must be a UUID")
        assert await server.data(query, {"id": NOBODY}) == {field: None}


class TestWhoIsCalling:
    OPERATORS: tuple[tuple[str, dict[str, Any]], ...] = (
        (CREATE, {"input": {"name": "Tee", "dropName": "First Light", "stock": 1}}),
        (RESTOCK, {"input": {"productId": NOBODY, "delta": 1}}),
        (CANCEL, {"input": {"orderId": NOBODY}}),
        (ORDERS, {}),
    )

    @pytest.fixture
    async def server(self, settings: Settings) -> AsyncIterator[Server]:
        """A server for each test: a client has ten wrong tokens, and then has to wait."""
        async with serving(settings) as server:
            yield server

    @staticmethod
    async def refusal(server: Server, query: str, variables: dict[str, Any], authorization: str | None) -> str:
        """The message of the UNAUTHENTICATED that the operation ends with; it repeats no token."""
        headers = {} if authorization is None else {"authorization": authorization}
        body = {"query": query, "variables": variables}
        async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
            assert response.status == 200
            answer = await response.json()
        [error] = answer["errors"]
        assert error["extensions"] == {"code": "UNAUTHENTICATED"}
        assert ADMIN_TOKEN not in error["message"]
        assert authorization is None or len(authorization) < 10 or authorization not in error["message"]
        message: str = error["message"]
        return message

    @pytest.mark.parametrize(
        ("authorization", "expected"),
        [
            (None, "send the operator's token as the header Authorization: Bearer TOKEN"),
            ("", "send the operator's token as the header Authorization: Bearer TOKEN"),
            ("Bearer wrong-token-of-somebody", "is not the operator's token of this server"),
            (f"Bearer {ADMIN_TOKEN}x", "is not the operator's token of this server"),
            (f"Bearer {ADMIN_TOKEN[:-1]}", "is not the operator's token of this server"),
            (f"Bearer {ADMIN_TOKEN} {ADMIN_TOKEN}", "is not the operator's token of this server"),
            ("Bearer töken-与-🎉", "is not the operator's token of this server"),
            ("Bearer", "Authorization must read: Bearer TOKEN"),
            ("Bearer   ", "Authorization must read: Bearer TOKEN"),
            ("Basic b3BlcmF0b3I6eA==", "Authorization must read: Bearer TOKEN"),
            (ADMIN_TOKEN, "Authorization must read: Bearer TOKEN"),
        ],
    )
    async def test_a_token_that_is_not_the_operators_is_refused(
        self, server: Server, authorization: str | None, expected: str
    ) -> None:
        for query, variables in self.OPERATORS:
            assert expected in await self.refusal(server, query, variables, authorization)

    async def test_header_bytes_that_are_no_text_do_not_open(self, server: Server) -> None:
        body = b'{"query": "{ orders { edges { cursor } } }"}'
        head = (
            b"POST /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer \xff\xfe\x80\r\ncontent-length: %d\r\n\r\n" % len(body)
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(head + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"code":"UNAUTHENTICATED"' in answer

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    async def test_the_token_opens(self, server: Server, scheme: str) -> None:
        headers = {"authorization": f"{scheme}  {ADMIN_TOKEN}"}
        async with server.session.post(f"{server.url}/graphql", json={"query": ORDERS}, headers=headers) as response:
            assert "errors" not in await response.json()

    async def test_a_server_without_a_token_lets_nobody_be_the_operator(self, settings: Settings) -> None:
        async with serving(replace(settings, admin_token=None)) as server:
            for authorization in (None, "Bearer ", "Bearer None", f"Bearer {ADMIN_TOKEN}"):
                message = await self.refusal(server, *self.OPERATORS[0], authorization)
                assert "set DROPZERO_ADMIN_TOKEN on the server" in message
            assert await server.data(ORDERS, {"userRef": "ada"}) == {"orders": {"edges": []}}

    async def test_another_buyers_order_is_not_cancelled(self, server: Server) -> None:
        product_id = await server.create_product(10)
        order_id = (await server.purchase(product_id, "ada", quantity=4))["order"]["id"]

        refused = await server.refusal(CANCEL, {"input": {"orderId": order_id, "userRef": "mallory"}})
        assert refused == (
            "FORBIDDEN",
            "this order was placed by another buyer; only that buyer or the operator can cancel it",
        )
        code, _ = await server.refusal(CANCEL, {"input": {"orderId": order_id}})
        assert code == "UNAUTHENTICATED"
        assert await stock_of(server, product_id) == 6

        await server.data(CANCEL, {"input": {"orderId": order_id}}, token=ADMIN_TOKEN)
        assert await stock_of(server, product_id) == 10

    async def test_an_unknown_order_is_not_cancelled(self, server: Server) -> None:
        refused = await server.refusal(CANCEL, {"input": {"orderId": NOBODY, "userRef": "ada"}})
        assert refused == ("NOT_FOUND", f"there is no order {NOBODY}")
        await assert_refused(server, CANCEL, {"input": {"orderId": "x", "userRef": "ada"}}, "orderId must be a UUID")
        await assert_refused(server, CANCEL, {"input": {"orderId": NOBODY, "userRef": ""}}, "userRef must have 1 to")


class TestDefects:
    async def test_a_defect_shows_a_reference_and_nothing_of_our_inside(
        self, settings: Settings, pool: Pool, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(settings) as server:
            product_id = await server.create_product(10)
            await pool.execute("ALTER TABLE orders RENAME TO somewhere_else")
            for query, variables in (
                (ORDERS, {"userRef": "ada"}),
                (PURCHASE, {"input": {"productId": product_id, "userRef": "ada"}}),
            ):
                code, message = await server.refusal(query, variables)
                assert code == "INTERNAL"
                reference = re.fullmatch(r"Internal error; please report the reference (\w{12})\.", message)
                assert reference is not None
                assert reference[1] in caplog.text
            assert 'relation "orders" does not exist' in caplog.text
            await pool.execute("ALTER TABLE somewhere_else RENAME TO orders")
            assert await stock_of(server, product_id) == 10
            assert (await server.purchase(product_id))["status"] == "CONFIRMED"

    async def test_a_request_that_is_no_http_is_answered_and_the_next_one_is_served(self, server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"\x16\x03\x01\x02\x00 this is not HTTP\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()
        assert await server.data("{ __typename }") == {"__typename": "Query"}
