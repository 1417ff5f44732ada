"""The media type of an answer, which the client's Accept header decides."""

import json

import pytest

from api.graphql.negotiation import GRAPHQL_RESPONSE, JSON, MAX_ACCEPT, negotiate
from api.graphql.requests import Refusal
from tests.graphql.http_requests import TYPENAME, message, post
from tests.server import Server


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.mark.parametrize(
    ("accept", "answered"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        ("application/json", JSON),
        ("application/json; charset=utf-8", JSON),
        ("application/graphql-response+json", GRAPHQL_RESPONSE),
        ("APPLICATION/GraphQL-Response+JSON", GRAPHQL_RESPONSE),
        ("application/graphql-response+json, application/json", GRAPHQL_RESPONSE),
        ("application/json, application/graphql-response+json", JSON),
        ("application/json;q=0.5, application/graphql-response+json;q=0.9", GRAPHQL_RESPONSE),
        ("application/graphql-response+json; charset=utf-8, application/json; charset=utf-8", GRAPHQL_RESPONSE),
        ("*/*, application/graphql-response+json", GRAPHQL_RESPONSE),
        ("application/json;q=0, */*", GRAPHQL_RESPONSE),
        ("application/graphql-response+json;q=0, application/json;q=0.1", JSON),
        ("text/html, application/json;q=0.9, */*;q=0.8", JSON),
        ("application/json;q=high", JSON),
    ],
)
def test_the_clients_preference_decides(accept: str, answered: str) -> None:
    assert negotiate(accept) == answered


@pytest.mark.parametrize("accept", ["text/html", "application/xml, image/*", "*/*;q=0", "application/json;q=0.0"])
def test_a_client_that_accepts_none_of_our_types_is_refused(accept: str) -> None:
    with pytest.raises(
        Refusal, match=r"application/graphql-response\+json, application/json or text/event-stream"
    ) as refused:
        negotiate(accept)
    assert refused.value.status == 406


def test_an_accept_header_that_is_too_long_is_not_parsed() -> None:
    longest = "text/csv," * 100 + "*/*"
    assert negotiate(longest + " " * (MAX_ACCEPT - len(longest))) == JSON
    with pytest.raises(Refusal, match="1000 characters are allowed") as refused:
        negotiate(longest + " " * (MAX_ACCEPT - len(longest)) + " ")
    assert refused.value.status == 431


async def test_an_accept_header_that_is_too_long_is_431(server: Server) -> None:
    response, answer = await post(server, TYPENAME, accept="text/csv," * 200)
    assert response.status == 431
    assert "1000 characters are allowed" in message(answer)


async def test_the_answer_names_its_media_type(server: Server) -> None:
    response, _ = await post(server, TYPENAME, accept=GRAPHQL_RESPONSE)
    assert response.headers["content-type"] == f"{GRAPHQL_RESPONSE}; charset=utf-8"
    response, _ = await post(server, TYPENAME, accept=JSON)
    assert response.headers["content-type"] == f"{JSON}; charset=utf-8"
    response, answer = await post(server, TYPENAME, accept="text/csv")
    assert response.status == 406
    assert response.headers["content-type"] == f"{JSON}; charset=utf-8"
    assert "accept one of them" in message(answer)


async def test_several_accept_headers_are_joined(server: Server) -> None:
    headers = [("accept", "text/csv"), ("accept", GRAPHQL_RESPONSE), ("content-type", JSON)]
    async with server.session.post(f"{server.url}/graphql", data=TYPENAME, headers=headers) as response:
        assert (response.status, response.content_type) == (200, GRAPHQL_RESPONSE)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{", "Syntax Error: Expected Name, found <EOF>."),
        ("{ nothing }", "Cannot query field 'nothing' on type 'Query'."),
        (
            "query A { __typename } query B { __typename }",
            "Must provide operation name if query contains multiple operations.",
        ),
    ],
)
async def test_a_request_error_is_400_in_the_newer_media_type(server: Server, query: str, expected: str) -> None:
    """In the older media type it is 200."""
    body = json.dumps({"query": query}).encode()
    response, answer = await post(server, body, accept=GRAPHQL_RESPONSE)
    assert response.status == 400
    assert message(answer) == expected
    response, answer = await post(server, body, accept=JSON)
    assert response.status == 200
    assert message(answer) == expected


async def test_an_error_of_a_field_is_200_in_both_media_types(server: Server) -> None:
    for accept in (JSON, GRAPHQL_RESPONSE):
        response, answer = await post(server, b'{"query": "{ product(id: \\"x\\") { id } }"}', accept=accept)
        assert response.status == 200
        assert answer["data"] == {"product": None}
        assert answer["errors"][0]["path"] == ["product"]
