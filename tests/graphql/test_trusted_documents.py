"""A server with trusted documents: it executes no other, except for the operator."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from graphql import get_introspection_query, parse

from api.app import create_admission, create_app
from api.database.endpoint import Endpoint
from api.settings import EMBEDDED_REGIONS, InvalidSettings, Settings, read_settings
from api.storefront.pages import FOLDER, OPERATOR, PAGES, read_script
from api.storefront.pages import documents as storefront_documents
from tests.command import dropzero
from tests.graphql.subscriptions import WATCH, streaming, until_metrics
from tests.graphql.transport import connected
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES
from tests.server import ADMIN_TOKEN, GUEST_KEY, PURCHASE, Server, serving

STOCK = "query Stock($id: ID!) { product(id: $id) { stock } }"
UNKNOWN = ("FORBIDDEN", "This server executes the documents that it knows, and no other.")
UNTRUSTED = [
    "{ __typename }",
    "{ now }",
    f" {STOCK}",
    STOCK.replace(" stock ", " name "),
    STOCK.replace("Stock", "Other"),
    get_introspection_query(),
    "mutation { __typename }",
    WATCH,
    "no document",
    "{ nothing }",
    "x" * 100_000,
]


@pytest.fixture(scope="module")
def settings(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A laptop's settings, with a file of two documents."""
    file = tmp_path_factory.mktemp("documents") / "persisted.json"
    file.write_text(json.dumps({"1": STOCK, "2": PURCHASE}))
    return replace(
        read_settings({"DROPZERO_DOCUMENTS": str(file)}),
        endpoints=tuple(Endpoint(region, shared_database_url) for region in EMBEDDED_REGIONS),
        admin_token=ADMIN_TOKEN,
        guest_keys=(GUEST_KEY,),
        budget=PATIENT_BUDGET,
        region_times=PATIENT_TIMES,
    )


@pytest.fixture(scope="module")
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server with trusted documents."""
    async with serving(settings) as server:
        yield server


@pytest.mark.parametrize("query", UNTRUSTED)
async def test_an_untrusted_document_is_refused_over_http(server: Server, query: str) -> None:
    assert await server.refusal(query, {"id": "x"}) == UNKNOWN
    async with server.session.get(f"{server.url}/graphql", params={"query": query[:5_000]}) as response:
        [error] = (await response.json())["errors"]
    assert error["message"] == UNKNOWN[1]


async def test_an_untrusted_document_is_refused_over_a_websocket_that_stays_open(server: Server) -> None:
    async with connected(server) as client:
        for number, query in enumerate(UNTRUSTED[:-1]):
            await client.subscribe(query, id=str(number))
            assert await client.error(str(number)) == UNKNOWN
        product_id = await server.create_product(stock=3)
        assert await client.answer(STOCK, {"id": product_id}) == {"product": {"stock": 3}}


async def test_an_untrusted_subscription_is_refused_as_an_event_stream(server: Server) -> None:
    async with streaming(server, WATCH, {"ids": ["x"]}) as stream:
        name, response = await stream.event()
        assert (name, [error["message"] for error in response["errors"]]) == ("next", [UNKNOWN[1]])
        assert (await stream.event())[0] == "complete"


async def test_the_documents_of_the_file_are_served(server: Server) -> None:
    product_id = await server.create_product(stock=3)

    assert (await server.purchase(product_id))["status"] == "CONFIRMED"
    assert await server.data(STOCK, {"id": product_id}) == {"product": {"stock": 2}}
    async with server.session.get(
        f"{server.url}/graphql", params={"query": STOCK, "variables": json.dumps({"id": product_id})}
    ) as response:
        assert await response.json() == {"data": {"product": {"stock": 2}}}


async def test_the_documents_of_our_own_pages_are_served(server: Server) -> None:
    product_id = await server.create_product(stock=3)
    [become_guest] = [document for document in storefront_documents() if "BecomeGuest" in document]
    guest = (await server.data(become_guest))["guest"]
    ordered_id = await server.create_product(
        stock=3
    )  # its order is cancelled, and the stock of the other is not changed
    bought = await server.data(
        PURCHASE, {"input": {"productId": ordered_id, "userRef": guest["subject"]}}, token=guest["token"]
    )
    order_id = bought["purchase"]["order"]["id"]
    variables: dict[str, Any] = {
        "id": product_id,
        "ids": [product_id],
        "buyer": guest["subject"],
        "known": True,
        "single": True,
        "one": EMBEDDED_REGIONS[0],
        "two": EMBEDDED_REGIONS[1],
    }

    for document in buyers_documents():
        sent = {name: value for name, value in variables.items() if f"${name}:" in document}
        if "$one: Boolean!" in document:
            sent["one"] = False
        if document.startswith("subscription"):
            async with connected(server) as client:
                await client.subscribe(document, sent)
                if "productsChanged" in document:
                    await until_metrics(server, product_followers=1)
                    created_id = await server.create_product(stock=3)
                    assert (await client.next())["productsChanged"]["id"] == created_id
                else:
                    assert (await client.next())["stockChanged"]["stock"] == 3
            continue
        if "rder(id: $id)" in document or "rderId: $id" in document:
            sent["id"] = order_id
        elif "$input" in document:
            cancels = "CancelOrderInput" in document
            sent["input"] = {"orderId": order_id} if cancels else {"productId": product_id, "quantity": 99}
            sent["input"]["userRef"] = guest["subject"]
        assert all((await server.data(document, sent, token=guest["token"])).values()), document


def buyers_documents() -> list[str]:
    """Return the documents of the pages for buyers."""
    modules = {module for page in PAGES if page is not OPERATOR for module in page.modules}
    code = "".join(read_script(module) for module in modules)
    return [document for document in storefront_documents() if document in code]


async def test_strangers_that_send_the_documents_of_the_operators_page_must_sign_in(server: Server) -> None:
    """So the page learns that its token has expired, and not that its documents are unknown."""
    operators = set(storefront_documents()) - set(buyers_documents())
    assert len(operators) == 16
    for document in operators:
        answer = await server.ask(document, {"id": "x", "productId": "x"})
        assert UNKNOWN[1] not in str(answer)
    [log] = [document for document in operators if "operatorLog" in document]
    assert (await server.refusal(log))[0] == "UNAUTHENTICATED"


async def test_the_operator_may_send_any_document(server: Server) -> None:
    assert (await server.data("{ __typename }", token=ADMIN_TOKEN)) == {"__typename": "Query"}
    assert (await server.data(get_introspection_query(), token=ADMIN_TOKEN))["__schema"]
    async with connected(server, init=False) as client:
        await client.init({"authorization": f"Bearer {ADMIN_TOKEN}"})
        assert await client.answer("{ __typename }") == {"__typename": "Query"}
    assert await server.refusal("{ __typename }", token="not-the-operators-token") == UNKNOWN
    assert (await server.refusal("{ nothing }", token=ADMIN_TOKEN))[1].startswith("Cannot query field 'nothing'")


async def test_a_refused_document_is_not_kept(server: Server) -> None:
    for number in range(3):
        assert await server.refusal(f"query Q{number} {{ now }}") == UNKNOWN
    assert (await server.data("query Q0 { now }", token=ADMIN_TOKEN))["now"]
    assert await server.refusal("query Q0 { now }") == UNKNOWN, "a document of the operator does not become trusted"


async def test_without_a_file_every_document_is_executed(settings: Settings) -> None:
    async with serving(replace(settings, trusted_documents=None)) as server:
        assert await server.data("{ __typename }") == {"__typename": "Query"}


async def test_an_empty_file_trusts_the_documents_of_our_pages_alone(settings: Settings) -> None:
    async with serving(replace(settings, trusted_documents={})) as server:
        assert await server.refusal(STOCK, {"id": "x"}) == UNKNOWN
        product_id = await server.create_product(stock=3)
        [drops] = [document for document in storefront_documents() if document.startswith("query Drops")]
        listed = await server.data(drops, {"ids": [product_id]})
        assert [product["id"] for product in listed["productsByIds"]] == [product_id]


WRONG = {
    "no document": "Syntax Error",
    "query A { nothing }": "Cannot query field 'nothing' on type 'Query'.",
    "{ __typename } { __typename }": "This anonymous operation must be the only defined operation.",
    f"{{ {'products { ' * 25} id {'}' * 25} }}": "levels deep",
    "x" * 20_001: "The document has 20001 characters",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_invalid_document_ends_the_start_with_its_variable(settings: Settings, wrong: str) -> None:
    there = replace(settings, trusted_documents={"1": STOCK, "2": wrong})
    with pytest.raises(InvalidSettings) as refused:
        create_app(there, create_admission(there))

    message = str(refused.value)
    assert message.startswith("DROPZERO_DOCUMENTS: ")
    assert WRONG[wrong] in message
    assert "\n" not in message
    assert len(message) < 1_000


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_command_ends_with_one_line_about_an_invalid_document(tmp_path: Path, workers: str) -> None:
    file = tmp_path / "documents.json"
    file.write_text(json.dumps({"5f1c": "query A { nothing }"}))
    data, documents = str(tmp_path / "data"), str(file)
    ended = await dropzero(
        "serve", "--port", "0", "--workers", workers, DROPZERO_DATA=data, DROPZERO_DOCUMENTS=documents
    )

    assert ended.status == 2
    assert "Traceback" not in ended.err
    assert [line for line in ended.err.splitlines() if "DROPZERO_DOCUMENTS: " in line and "'nothing'" in line]


OPERATION = re.compile(r"\b(?:query|mutation|subscription)\b\s*\w*\s*(?:\(\s*\$|\{)")
"""The beginning of an operation, in any quotes."""


def test_every_document_of_our_pages_is_found() -> None:
    found = storefront_documents()
    modules = [read_script(file.name) for file in (FOLDER / "static").glob("*.js")]
    templates = [file.read_text(encoding="utf-8") for file in FOLDER.rglob("*.html")]
    code = "".join([*modules, *templates])

    assert len(OPERATION.findall(code)) == len(found) == len(set(found)) == 29
    for document in found:
        assert parse(document).definitions
        assert "\\" not in document, "the page would send another text than the one in its file"
        assert "${" not in document
        assert code.count(f"`{document}`") == 1


async def test_the_cost_of_a_trusted_document_is_not_limited(settings: Settings) -> None:
    fields = "edges { node { id name dropName stock soldOut stocked version opensAt limitPerBuyer createdAt } }"
    costly = f"{{ a: products(first: 100) {{ {fields} }} b: products(first: 100) {{ {fields} }} }}"
    async with serving(replace(settings, trusted_documents={"1": costly})) as server:
        data = await server.data(costly)
        assert data["a"] == data["b"]
