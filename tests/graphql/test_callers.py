"""The operator's token over HTTP: what only the operator may do, and how other callers are refused."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from api.settings import Settings
from tests.graphql.operations import CANCEL, CREATE, ORDERS, RESTOCK, UNKNOWN_ID, stock_of
from tests.protocol.raw import exchange, request
from tests.server import ADMIN_TOKEN, Server, serving

FOR_THE_OPERATOR: tuple[tuple[str, dict[str, Any]], ...] = (
    (CREATE, {"input": {"name": "Tee", "dropName": "First Light", "stock": 1}}),
    (RESTOCK, {"input": {"productId": UNKNOWN_ID, "delta": 1}}),
    (CANCEL, {"input": {"orderId": UNKNOWN_ID}}),
    (ORDERS, {}),
)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server of the test's own. After ten wrong tokens a client has to wait."""
    async with serving(settings) as server:
        yield server


async def refusal(server: Server, query: str, variables: dict[str, Any], authorization: str | None) -> str:
    """The message of the UNAUTHENTICATED that the operation ends with. The message does not have the right token."""
    headers = {} if authorization is None else {"authorization": authorization}
    body = {"query": query, "variables": variables}
    async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
        assert response.status == 200
        answer = await response.json()
    [error] = answer["errors"]
    assert error["extensions"] == {"code": "UNAUTHENTICATED"}
    assert ADMIN_TOKEN not in error["message"]
    message: str = error["message"]
    return message


NO_TOKEN = "send the operator's token as the header Authorization: Bearer TOKEN"
NOT_BEARER = "Authorization must read: Bearer TOKEN"
WRONG_TOKEN = "is not the operator's token of this server"


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [(None, NO_TOKEN), ("", NO_TOKEN), ("Bearer", NOT_BEARER), ("Bearer   ", NOT_BEARER)],
)
async def test_a_caller_without_a_token_is_refused(server: Server, authorization: str | None, expected: str) -> None:
    for query, variables in FOR_THE_OPERATOR:
        assert expected in await refusal(server, query, variables, authorization)


@pytest.mark.parametrize(
    ("authorization", "expected"),
    [
        ("Bearer wrong-token-of-somebody", WRONG_TOKEN),
        (f"Bearer {ADMIN_TOKEN}x", WRONG_TOKEN),
        (f"Bearer {ADMIN_TOKEN[:-1]}", WRONG_TOKEN),
        (f"Bearer {ADMIN_TOKEN} {ADMIN_TOKEN}", WRONG_TOKEN),
        ("Bearer töken-与-🎉", WRONG_TOKEN),
        ("Basic b3BlcmF0b3I6eA==", NOT_BEARER),
        (ADMIN_TOKEN, NOT_BEARER),
    ],
)
async def test_a_wrong_token_is_refused_and_not_repeated(server: Server, authorization: str, expected: str) -> None:
    for query, variables in FOR_THE_OPERATOR:
        message = await refusal(server, query, variables, authorization)
        assert expected in message
        assert authorization.split()[-1] not in message


async def test_a_token_of_bytes_that_are_not_text_is_refused(server: Server) -> None:
    body = b'{"query": "{ orders { edges { cursor } } }"}'
    sent = request(b"POST /graphql HTTP/1.1", b"Connection: close", b"Authorization: Bearer \xff\xfe\x80", body=body)
    [answer] = await exchange(server, [sent])
    assert answer.status == 200
    assert b'"code":"UNAUTHENTICATED"' in answer.body


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_operators_token_is_accepted(server: Server, scheme: str) -> None:
    headers = {"authorization": f"{scheme}  {ADMIN_TOKEN}"}
    async with server.session.post(f"{server.url}/graphql", json={"query": ORDERS}, headers=headers) as response:
        assert "errors" not in await response.json()


async def test_a_server_without_a_token_has_no_operator(settings: Settings) -> None:
    async with serving(replace(settings, admin_token=None)) as server:
        for authorization in (None, "Bearer ", "Bearer None", f"Bearer {ADMIN_TOKEN}"):
            message = await refusal(server, *FOR_THE_OPERATOR[0], authorization)
            assert "set DROPZERO_ADMIN_TOKEN on the server" in message
        assert await server.data(ORDERS, {"userRef": "ada"}) == {"orders": {"edges": []}}


async def test_another_buyers_order_is_not_cancelled(server: Server) -> None:
    product_id = await server.create_product(10)
    order_id = (await server.purchase(product_id, "ada", quantity=4))["order"]["id"]

    refused = await server.refusal(CANCEL, {"input": {"orderId": order_id, "userRef": "mallory"}})
    assert refused == ("NOT_FOUND", f"there is no order {order_id}")
    code, _ = await server.refusal(CANCEL, {"input": {"orderId": order_id}})
    assert code == "UNAUTHENTICATED"
    assert await stock_of(server, product_id) == 6

    await server.data(CANCEL, {"input": {"orderId": order_id}}, token=ADMIN_TOKEN)
    assert await stock_of(server, product_id) == 10
