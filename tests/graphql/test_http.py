"""GraphQL over HTTP on a real server: which requests are answered, and how the others are refused."""

import io
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from yarl import URL

from api.graphql.headers import by_name, headers_of, text_of
from api.graphql.negotiation import GRAPHQL_RESPONSE, JSON
from api.graphql.requests import MAX_BODY
from api.identity.authenticator import FREE_GUESSES
from api.settings import Settings
from tests.graphql.http_requests import TYPENAME, assert_serves, get, message, post
from tests.protocol.raw import connection_to, request
from tests.server import ADMIN_TOKEN, Server, serving

CREATE = 'mutation { createProduct(input: {name: "Tee", dropName: "Not by GET", stock: 1}) { id } }'


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


class TestGet:
    async def test_a_query_with_variables_is_answered(self, server: Server) -> None:
        product_id = await server.create_product(7)
        response, answer = await get(
            server,
            {
                "query": "query Other { __typename } query Stock($id: ID!) { product(id: $id) { stock } }",
                "variables": json.dumps({"id": product_id}),
                "operationName": "Stock",
            },
        )
        assert response.status == 200
        assert response.headers["cache-control"] == "no-store"
        assert answer == {"data": {"product": {"stock": 7}}}

    async def test_a_mutation_is_not_executed(self, server: Server) -> None:
        async with server.session.get(
            f"{server.url}/graphql", params={"query": CREATE}, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        ) as response:
            assert response.status == 405
            assert response.headers["allow"] == "POST"
            assert message(await response.json()) == "GET is for queries; send a mutation by POST"
        created = await server.data('{ products(dropName: "Not by GET") { edges { cursor } } }')
        assert created == {"products": {"edges": []}}

    async def test_a_mutation_beside_a_query_is_not_executed(self, server: Server) -> None:
        both = {"query": f"query Read {{ __typename }} mutation Write {CREATE.removeprefix('mutation')}"}
        response, answer = await get(server, {**both, "operationName": "Write"})
        assert response.status == 405
        response, answer = await get(server, {**both, "operationName": "Read"})
        assert (response.status, answer) == (200, {"data": {"__typename": "Query"}})

    @pytest.mark.parametrize(
        ("query_string", "expected"),
        [
            ("", "query must be a GraphQL document"),
            ("query=", "query must be a GraphQL document"),
            ("query=%ff", "percent-encoded as UTF-8"),
            ("query={__typename}&" + "&".join(f"a{number}=1" for number in range(30)), "at most 20 parameters"),
            ("query={__typename}&variables=[]", "variables must be an object"),
            ("query={__typename}&variables={", "variables must be JSON"),
            ("query={__typename}&variables=" + "[" * 5000, "variables must be JSON"),
            ("query={__typename}&extensions=5", "extensions must be an object"),
        ],
    )
    async def test_a_malformed_query_string_is_400(self, server: Server, query_string: str, expected: str) -> None:
        url = URL(f"{server.url}/graphql?{query_string}", encoded=True)
        async with server.session.get(url) as response:
            assert response.status == 400
            assert expected in message(await response.json())

    async def test_graphiql_is_sent_to_browsers_alone(self, server: Server) -> None:
        async with server.session.get(f"{server.url}/graphql", headers={"accept": "text/html"}) as response:
            assert (response.status, response.content_type) == (200, "text/html")
        response, answer = await get(server, {"query": "{__typename}"}, accept="text/html,application/json;q=0.9")
        assert (response.status, answer) == (200, {"data": {"__typename": "Query"}})


class TestHeaders:
    def test_a_repeated_header_is_joined(self) -> None:
        headers = by_name([(b"accept", b"a/b"), (b"x-other", b"c"), (b"content-type", b"d/e"), (b"accept", b"f/g")])
        assert (text_of(headers, b"accept"), text_of(headers, b"content-type")) == ("a/b,f/g", "d/e")
        assert (text_of(headers, b"x-none"), text_of(headers, b"x-none", "nothing")) == ("", "nothing")

    def test_the_headers_of_a_request_are_read_once(self) -> None:
        scope = {"headers": [(b"accept", b"a/b")]}
        assert headers_of(scope) is headers_of(scope)
        assert headers_of({"headers": []}) == {}

    def test_the_time_to_read_headers_is_linear(self) -> None:
        def cost(number: int) -> float:
            scope: dict[str, Any] = {"headers": [(b"accept", b"application/json")] * number}
            costs = []
            for _ in range(5):
                begun = time.process_time()
                text_of(headers_of(dict(scope)), b"accept")
                costs.append(time.process_time() - begun)
            return min(costs)

        assert cost(40_000) < 8 * cost(10_000), "16 times as long if each value is joined to all values before it"


MALFORMED = [
    (b"null", "the body must be a JSON object"),
    (b"5", "the body must be a JSON object"),
    (b'"x"', "the body must be a JSON object"),
    (b"true", "the body must be a JSON object"),
    (b"[]", "batches are not taken"),
    (b'[{"query": "{ __typename }"}]', "batches are not taken"),
    (b"", "the body must be JSON"),
    (b"{", "the body must be JSON"),
    (b"query { __typename }", "the body must be JSON"),
    (b'{"query": "{ __typename }", "variables": {"a": NaN}}', "the body must be JSON"),
    (b'{"query": "\xff"}', "the body must be JSON in UTF-8"),
    (b'\xef\xbb\xbf{"query": "{ __typename }"}', "the body must be JSON in UTF-8"),
    (b'{"query": "{ __typename } \\ud800"}', "surrogate"),
    (b"[" * 100_000 + b"]" * 100_000, "the body must be JSON"),
    (b'{"query": "{ __typename }", "variables": ' + b'{"a":' * 30_000 + b"1" + b"}" * 30_001, "the body must be JSON"),
    (b"\x1f\x8b\x08\x00\x00", "the body must be JSON"),
    (b"{}", "query must be a GraphQL document"),
    (b'{"query": null}', "query must be a GraphQL document"),
    (b'{"query": 5}', "query must be a GraphQL document"),
    (b'{"query": ""}', "query must be a GraphQL document"),
    (b'{"query": "{ __typename }", "operationName": 5}', "operationName must be a string"),
    (b'{"query": "{ __typename }", "variables": []}', "variables must be an object"),
    (b'{"query": "{ __typename }", "variables": "{}"}', "variables must be an object"),
    (b'{"query": "{ __typename }", "extensions": []}', "extensions must be an object"),
    (
        b'{"query": "subscription { stockChanged(productIds: [\\"x\\"]) { stock } }"}',
        "connect to this address as graphql-transport-ws",
    ),
]


class TestPost:
    @pytest.mark.parametrize("accept", [JSON, GRAPHQL_RESPONSE])
    async def test_a_malformed_body_is_400_and_the_next_request_is_served(self, server: Server, accept: str) -> None:
        for body, expected in MALFORMED:
            response, answer = await post(server, body, accept=accept)
            assert response.status == 400, body[:60]
            assert response.content_type == accept
            assert expected in message(answer), body[:60]
        await assert_serves(server)

    async def test_null_counts_as_left_out(self, server: Server) -> None:
        body = {"query": "{ __typename }", "variables": None, "operationName": None, "extensions": None, "id": 5}
        response, answer = await post(server, json.dumps(body).encode())
        assert (response.status, answer) == (200, {"data": {"__typename": "Query"}})

    @pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; Charset=UTF-8"])
    async def test_json_is_accepted(self, server: Server, content_type: str) -> None:
        response, _ = await post(server, TYPENAME, content_type=content_type)
        assert response.status == 200

    @pytest.mark.parametrize(
        "headers",
        [
            {"content_type": ""},
            {"content_type": "text/plain"},
            {"content_type": "application/x-www-form-urlencoded"},
            {"content_type": "multipart/form-data; boundary=x"},
            {"content_type": "application/graphql"},
            {"content_type": "application/json-patch+json"},
            {"content_type": "application/json; charset=latin-1"},
            {"content_type": "application/json; charset=utf-16; note=utf-8"},
            {"content_encoding": "gzip"},
        ],
    )
    async def test_a_body_that_is_not_plain_json_is_415(self, server: Server, headers: dict[str, str]) -> None:
        response, answer = await post(server, TYPENAME, **headers)
        assert response.status == 415
        assert message(answer).startswith("send the request")

    @pytest.mark.parametrize(
        "head",
        [
            b"content-type: application/json\xa0",
            b"content-type: \xa0application/json",
            b"content-type: application/json\x85; charset=utf-8",
            b"content-type: application/json; charset=utf-8\xa0",
            b"content-type: application/json\r\ncontent-encoding: identity\xa0",
        ],
    )
    async def test_a_blank_that_is_not_ascii_is_part_of_a_type(self, server: Server, head: bytes) -> None:
        length = b"Content-Length: %d" % len(TYPENAME)
        async with connection_to(server) as connection:
            await connection.send(request(b"POST /graphql HTTP/1.1", head, length) + TYPENAME)
            assert (await connection.answer()).status == 415

    @pytest.mark.parametrize(
        "parameters", ["charset=utf-8", 'Charset="UTF-8"', "charset = utf8", "note=x;charset=utf-8"]
    )
    async def test_utf8_may_be_named_as_the_charset(self, server: Server, parameters: str) -> None:
        response, _ = await post(server, TYPENAME, content_type=f"{JSON} ; {parameters}")
        assert response.status == 200

    async def test_a_body_that_is_too_large_is_413(self, server: Server) -> None:
        response, answer = await post(server, TYPENAME.ljust(MAX_BODY + 1))
        assert response.status == 413
        assert message(answer) == "the body is too large; 262144 bytes are allowed"
        response, _ = await post(server, TYPENAME.ljust(MAX_BODY))
        assert response.status == 200

    async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(self, server: Server) -> None:
        fields = (b"Content-Type: application/json", b"Content-Length: 50000000")
        async with connection_to(server) as connection:
            await connection.send(request(b"POST /graphql HTTP/1.1", *fields))
            assert (await connection.answer()).status == 413

    async def test_a_chunked_body_that_grows_too_large_is_413(self, server: Server) -> None:
        async def chunks(count: int) -> AsyncIterator[bytes]:
            for _ in range(count):
                yield TYPENAME if count == 1 else b" " * 65_536

        response, answer = await post(server, chunks(800))  # 50 MB
        assert response.status == 413
        assert "262144 bytes" in message(answer)
        response, answer = await post(server, chunks(1))
        assert (response.status, answer) == (200, {"data": {"__typename": "Query"}})

    async def test_a_query_of_two_megabytes_is_413_and_the_next_request_is_served(self, server: Server) -> None:
        body = io.BytesIO(b'{"query": "{' + b" __typename" * 190_000 + b'}"}')
        response, _ = await post(server, body)
        assert response.status == 413
        await assert_serves(server)

    async def test_a_client_that_leaves_amid_its_body_harms_no_other_client(self, server: Server) -> None:
        async def half() -> AsyncIterator[bytes]:
            yield TYPENAME[:5]
            raise ConnectionAbortedError

        with pytest.raises((aiohttp.ClientError, ConnectionAbortedError)):
            await post(server, half())
        await assert_serves(server)

    @pytest.mark.parametrize("method", ["DELETE", "PATCH", "OPTIONS", "TRACE"])
    async def test_other_methods_are_405(self, server: Server, method: str) -> None:
        async with server.session.request(method, f"{server.url}/graphql", json={"query": CREATE}) as response:
            assert response.status == 405
            assert response.headers["allow"] == "GET, POST"
            assert message(await response.json()) == f"use POST, or GET for queries, not {method}"

    async def test_head_is_405_without_a_body(self, server: Server) -> None:
        async with server.session.head(f"{server.url}/graphql", json={"query": CREATE}) as response:
            assert response.status == 405
            assert response.headers["allow"] == "GET, POST"
            assert await response.read() == b""


async def test_a_client_that_guesses_the_operators_token_has_to_wait(settings: Settings) -> None:
    async with serving(settings) as server:
        for number in range(FREE_GUESSES):
            code, _ = await server.refusal(CREATE, token=f"a-wrong-guess-{number}")
            assert code == "UNAUTHENTICATED"
        response, answer = await post(server, TYPENAME, authorization=f"Bearer {ADMIN_TOKEN}")
        assert response.status == 429
        assert response.headers["retry-after"] == "1"
        [error] = answer["errors"]
        assert error["extensions"]["code"] == "RATE_LIMITED"
        assert 0 < error["extensions"]["retryAfterMs"] <= 1000
        assert await server.data("{ __typename }") == {"__typename": "Query"}, "buying goes on"
        assert (await server.metrics())["dropzero_refused_tokens_total"] == FREE_GUESSES + 1


async def test_a_slash_at_the_end_of_the_path_leads_to_the_path_without_it(server: Server) -> None:
    there = f"{server.url}/graphql/?query={{__typename}}"
    async with server.session.get(there, allow_redirects=False) as response:
        assert (response.status, response.headers["location"]) == (308, "/graphql?query=%7B__typename%7D")
        [error] = (await response.json())["errors"]
        assert error["message"] == "GraphQL is at /graphql, without a slash at the end"
    async with server.session.post(there, json={"query": "{ __typename }"}) as response:
        assert await response.json() == {"data": {"__typename": "Query"}}
