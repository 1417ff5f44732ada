"""Defects: the answer has a reference, and only the log explains it."""

import json
import re
from typing import Any

import pytest
from graphql import GraphQLSchema

from api.app import create_admission
from api.database.pool import Pool
from api.graphql.documents import Documents
from api.graphql.engine import Engine
from api.graphql.graphiql import GraphiQL
from api.graphql.http import GraphQLHTTP
from api.identity.authenticator import Authenticator
from api.identity.operator_tokens import OperatorTokens
from api.settings import Settings
from tests.graphql.http_requests import TYPENAME
from tests.graphql.operations import ORDERS, stock_of
from tests.server import PURCHASE, serving


class Failing:
    async def execute(self, *_: object) -> None:
        raise RuntimeError("password=hunter2")


class Unencodable:
    async def execute(self, *_: object) -> dict[str, Any]:
        return {"data": {"__typename": 2**64}}


@pytest.mark.parametrize(
    ("executor", "cause"), [(Failing(), "hunter2"), (Unencodable(), "Integer exceeds 64-bit range")]
)
async def test_a_defect_of_the_handler_is_answered_with_a_reference_to_the_log(
    executor: Any, cause: str, settings: Settings, schema: GraphQLSchema, caplog: pytest.LogCaptureFixture
) -> None:
    admission = create_admission(settings)
    documents = Documents(schema, admission.turns)
    authenticator = Authenticator(OperatorTokens(None), admission.refusals)
    engine = Engine(None, executor, documents, None, None, authenticator, admission)  # type: ignore[arg-type]
    handler = GraphQLHTTP(engine, None, None, 12.0)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": TYPENAME}

    async def send(event: Any) -> None:
        sent.append(event)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    await handler(scope, receive, send)

    assert sent[0]["status"] == 500
    [error] = json.loads(sent[1]["body"])["errors"]
    reference = re.fullmatch(r"Internal error; please report the reference (\w{12})\.", error["message"])
    assert reference is not None
    assert error["extensions"] == {"code": "INTERNAL", "requestId": reference[1]}
    assert (b"x-request-id", reference[1].encode()) in sent[0]["headers"]
    assert reference[1] in caplog.text
    assert cause in caplog.text


async def test_a_defect_of_graphiql_is_answered_with_a_reference_to_the_log(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def page(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(GraphiQL, "__call__", page)
    async with (
        serving(settings) as server,
        server.session.get(f"{server.url}/graphql", headers={"accept": "text/html"}) as response,
    ):
        assert response.status == 500
        [error] = (await response.json())["errors"]
    reference = re.fullmatch(r"Internal error; please report the reference (\w{12})\.", error["message"])
    assert reference is not None
    assert reference[1] in caplog.text


async def test_a_defect_of_a_resolver_is_answered_with_a_reference_to_the_log(
    settings: Settings, pool: Pool, caplog: pytest.LogCaptureFixture
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
