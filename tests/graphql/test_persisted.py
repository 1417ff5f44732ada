"""Documents that are named by an id: automatic persisted queries, and trusted documents, over every transport."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from api.settings import Settings
from api.storefront.pages import documents as storefront_documents
from tests.graphql.subscriptions import WATCH, Stream
from tests.graphql.transport import connected
from tests.server import ADMIN_TOKEN, Server, serving

HELLO = "{ __typename }"
STOCK = "query Stock($id: ID!) { product(id: $id) { stock } }"
NOT_SUPPORTED = ("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported")
NOT_FOUND = ("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")
NEWER = "application/graphql-response+json"


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    """A server that executes any document."""
    return shared_server


@pytest.fixture
async def trusting(settings: Settings) -> AsyncIterator[Server]:
    """A server with trusted documents. One has an id of its frontend's build."""
    documents = {"stock-of-1": STOCK, sha256(WATCH.encode()).hexdigest(): WATCH}
    async with serving(replace(settings, trusted_documents=documents)) as server:
        yield server


def automatic(text: str, **more: Any) -> dict[str, Any]:
    """The parameters of an automatic persisted query, with the hash alone."""
    named = {"version": 1, "sha256Hash": sha256(text.encode()).hexdigest()}
    return {"extensions": {"persistedQuery": named}, **more}


async def post(server: Server, parameters: dict[str, Any], accept: str = "application/json", token: str = "") -> Any:
    headers = {"accept": accept} | ({"authorization": f"Bearer {token}"} if token else {})
    async with server.session.post(f"{server.url}/graphql", json=parameters, headers=headers) as response:
        return response.status, await response.json(content_type=None)


async def get(server: Server, parameters: dict[str, Any], accept: str = "application/json") -> Any:
    encoded = {name: each if isinstance(each, str) else json.dumps(each) for name, each in parameters.items()}
    async with server.session.get(f"{server.url}/graphql", params=encoded, headers={"accept": accept}) as response:
        return response.status, await response.json(content_type=None)


def refusal_of(answer: dict[str, Any]) -> tuple[str, str]:
    [error] = answer["errors"]
    return error["extensions"]["code"], error["message"]


async def test_the_hash_of_a_text_that_the_server_does_not_know_makes_clients_send_the_text(server: Server) -> None:
    for ask in (post, get):
        status, answer = await ask(server, automatic(HELLO))
        assert (status, refusal_of(answer)) == (200, NOT_SUPPORTED)
        status, answer = await ask(server, automatic(HELLO), NEWER)
        assert (status, refusal_of(answer)) == (400, NOT_SUPPORTED)
        assert await ask(server, automatic(HELLO, query=HELLO)) == (200, {"data": {"__typename": "Query"}})
    # A browser's address bar is asked for a page unless a document is named.
    assert refusal_of((await get(server, automatic(HELLO), "text/html, */*"))[1]) == NOT_SUPPORTED


async def test_a_hash_that_is_not_the_querys_is_refused(server: Server) -> None:
    for wrong in (automatic(STOCK, query=HELLO), automatic(HELLO, query=HELLO + " ")):
        code, message = refusal_of((await post(server, wrong))[1])
        assert code == "BAD_USER_INPUT"
        assert message.startswith("extensions.persistedQuery.sha256Hash must be the SHA-256 of the query")


async def test_the_hash_of_a_document_of_our_own_pages_is_executed(server: Server) -> None:
    [drops] = [document for document in storefront_documents() if document.startswith("query Drops")]
    product_id = await server.create_product(stock=3)
    for ask in (post, get):
        status, answer = await ask(server, automatic(drops, variables={"ids": [product_id]}))
        assert (status, [product["id"] for product in answer["data"]["productsByIds"]]) == (200, [product_id])
    [guest] = [document for document in storefront_documents() if "BecomeGuest" in document]
    assert (await get(server, automatic(guest)))[0] == 405


async def test_a_hash_alone_is_answered_on_websockets_and_event_streams(server: Server) -> None:
    async with connected(server) as client:
        for query in ({}, {"query": None}, {"query": ""}):
            await client.send({"id": "1", "type": "subscribe", "payload": automatic(HELLO, **query)})
            assert await client.error() == NOT_SUPPORTED
        await client.send({"id": "1", "type": "subscribe", "payload": automatic(HELLO, query=HELLO)})
        assert await client.next() == {"__typename": "Query"}
    headers = {"accept": "text/event-stream"}
    async with server.session.post(f"{server.url}/graphql", json=automatic(WATCH), headers=headers) as response:
        stream = Stream(response)
        name, answer = await stream.event()
        assert (response.status, name, refusal_of(answer)) == (200, "next", NOT_SUPPORTED)
        assert (await stream.event())[0] == "complete"


async def test_an_id_of_no_document_is_answered_with_what_to_send(server: Server, trusting: Server) -> None:
    for name in ("documentId", "doc_id"):
        assert refusal_of((await post(server, {name: "5f1c"}))[1]) == (
            "PERSISTED_QUERY_NOT_FOUND",
            "This server has no document of this id. Send the document's text as query.",
        )
        assert refusal_of((await get(trusting, {name: "5f1c"}))[1]) == (
            "PERSISTED_QUERY_NOT_FOUND",
            "This server has no document of this id, and executes those alone that it has.",
        )


async def test_trusted_documents_are_executed_by_every_name_of_theirs(trusting: Server) -> None:
    product_id = await trusting.create_product(stock=3)
    variables = {"id": product_id}
    hashed = sha256(STOCK.encode()).hexdigest()
    for named in (
        {"documentId": "stock-of-1"},
        {"documentId": f"sha256:{hashed}"},
        {"doc_id": "stock-of-1"},
        automatic(STOCK),
        {"extensions": {"persistedQuery": {"version": 1, "sha256Hash": "stock-of-1"}}},
        {"query": STOCK},
        automatic(STOCK, query=STOCK),
    ):
        for ask in (post, get):
            assert await ask(trusting, {**named, "variables": variables}) == (200, {"data": {"product": {"stock": 3}}})
    async with connected(trusting) as client:
        payload = automatic(WATCH, variables={"ids": [product_id]})
        await client.send({"id": "1", "type": "subscribe", "payload": payload})
        assert (await client.next())["stockChanged"]["stock"] == 3


async def test_a_hash_of_another_document_is_not_found_where_documents_are_trusted(trusting: Server) -> None:
    """Not found, and not unsupported: clients go on to send the hashes of their other documents."""
    assert refusal_of((await post(trusting, automatic(HELLO)))[1]) == NOT_FOUND
    assert refusal_of((await post(trusting, automatic(HELLO, query=HELLO)))[1])[0] == "FORBIDDEN"
    assert await post(trusting, automatic(HELLO, query=HELLO), token=ADMIN_TOKEN) == (
        200,
        {"data": {"__typename": "Query"}},
    )
