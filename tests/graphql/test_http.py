"""GraphQL over HTTP: what is taken, what is refused and how, on a server that listens."""

import asyncio
import io
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from yarl import URL

from api.app import create_admission
from api.graphql.documents import Documents
from api.graphql.engine import Engine
from api.graphql.headers import read_headers
from api.graphql.http import GraphQLHTTP
from api.graphql.negotiation import GRAPHQL_RESPONSE, JSON, MAX_ACCEPT, negotiate
from api.graphql.requests import MAX_BODY, Refusal
from api.graphql.schema import make_schema
from api.identity.caller import FREE_GUESSES, Authenticator
from api.settings import Settings, read_settings
from tests.graphql.stranger import connection
from tests.patience import PATIENCE, PATIENT_TIMES
from tests.server import ADMIN_TOKEN, Server, serving

TYPENAME = b'{"query": "{ __typename }"}'
CREATE = 'mutation { createProduct(input: {name: "Tee", dropName: "Not by GET", stock: 1}) { id } }'


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def post(
    server: Server, body: bytes | io.BytesIO | AsyncIterator[bytes], **headers: str
) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    """The response to a body as it stands, and its JSON."""
    named = {"content-type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.session.post(f"{server.url}/graphql", data=body, headers=named) as response:
        return response, json.loads(await response.read())


async def get(
    server: Server, parameters: dict[str, str], **headers: str
) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    """The response to a query string, and its JSON."""
    async with server.session.get(f"{server.url}/graphql", params=parameters, headers=headers) as response:
        return response, json.loads(await response.read())


def message(answer: dict[str, Any]) -> str:
    """What the one error of a refusal says; it carries a code, and there is no data."""
    [error] = answer["errors"]
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}
    assert "data" not in answer
    told: str = error["message"]
    return told


async def assert_serves(server: Server) -> None:
    assert await server.data("{ __typename }") == {"__typename": "Query"}


class TestMediaTypes:
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
    def test_the_clients_preference_decides(self, accept: str, answered: str) -> None:
        assert negotiate(accept) == answered

    @pytest.mark.parametrize("accept", ["text/html", "application/xml, image/*", "*/*;q=0", "application/json;q=0.0"])
    def test_a_client_that_takes_none_of_ours_is_refused(self, accept: str) -> None:
        with pytest.raises(
            Refusal, match=r"application/graphql-response\+json, application/json or text/event-stream"
        ) as refused:
            negotiate(accept)
        assert refused.value.status == 406

    def test_an_accept_header_without_end_is_refused_before_it_is_read(self) -> None:
        longest = "text/csv," * 100 + "*/*"
        assert negotiate(longest + " " * (MAX_ACCEPT - len(longest))) == JSON
        with pytest.raises(Refusal, match="1000 characters are allowed") as refused:
            negotiate(longest + " " * (MAX_ACCEPT - len(longest)) + " ")
        assert refused.value.status == 431

    async def test_a_long_accept_header_is_answered_with_what_is_allowed(self, server: Server) -> None:
        response, answer = await post(server, TYPENAME, accept="text/csv," * 200)
        assert response.status == 431
        assert "1000 characters are allowed" in message(answer)

    async def test_the_answer_says_what_it_is(self, server: Server) -> None:
        response, _ = await post(server, TYPENAME, accept=GRAPHQL_RESPONSE)
        assert response.headers["content-type"] == f"{GRAPHQL_RESPONSE}; charset=utf-8"
        response, _ = await post(server, TYPENAME, accept=JSON)
        assert response.headers["content-type"] == f"{JSON}; charset=utf-8"
        response, answer = await post(server, TYPENAME, accept="text/csv")
        assert response.status == 406
        assert response.headers["content-type"] == f"{JSON}; charset=utf-8"
        assert "accept one of them" in message(answer)

    async def test_several_accept_headers_are_one(self, server: Server) -> None:
        headers = [("accept", "text/csv"), ("accept", GRAPHQL_RESPONSE), ("content-type", JSON)]
        async with server.session.post(f"{server.url}/graphql", data=TYPENAME, headers=headers) as response:
            assert (response.status, response.content_type) == (200, GRAPHQL_RESPONSE)

    @pytest.mark.parametrize("query", ["{", "{ nothing }", "query A { __typename } query B { __typename }"])
    async def test_a_request_error_is_400_in_the_newer_type_and_200_in_the_older(
        self, server: Server, query: str
    ) -> None:
        body = json.dumps({"query": query}).encode()
        response, answer = await post(server, body, accept=GRAPHQL_RESPONSE)
        assert response.status == 400
        assert message(answer)
        response, answer = await post(server, body, accept=JSON)
        assert response.status == 200
        assert message(answer)

    async def test_an_error_of_a_field_is_200_with_data_in_both(self, server: Server) -> None:
        for accept in (JSON, GRAPHQL_RESPONSE):
            response, answer = await post(server, b'{"query": "{ product(id: \\"x\\") { id } }"}', accept=accept)
            assert response.status == 200
            assert answer["data"] == {"product": None}
            assert answer["errors"][0]["path"] == ["product"]


class TestGet:
    async def test_a_query_with_variables(self, server: Server) -> None:
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

    async def test_a_mutation_is_not_run(self, server: Server) -> None:
        async with server.session.get(
            f"{server.url}/graphql", params={"query": CREATE}, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
        ) as response:
            assert response.status == 405
            assert response.headers["allow"] == "POST"
            assert message(await response.json()) == "GET is for queries; send a mutation by POST"
        created = await server.data('{ products(dropName: "Not by GET") { edges { cursor } } }')
        assert created == {"products": {"edges": []}}

    async def test_a_mutation_beside_a_query_is_not_run_either(self, server: Server) -> None:
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
    async def test_a_malformed_query_string(self, server: Server, query_string: str, expected: str) -> None:
        url = URL(f"{server.url}/graphql?{query_string}", encoded=True)
        async with server.session.get(url) as response:
            assert response.status == 400
            assert expected in message(await response.json())

    async def test_graphiql_is_for_browsers_alone(self, server: Server) -> None:
        async with server.session.get(f"{server.url}/graphql", headers={"accept": "text/html"}) as response:
            assert (response.status, response.content_type) == (200, "text/html")
        response, answer = await get(server, {"query": "{__typename}"}, accept="text/html,application/json;q=0.9")
        assert (response.status, answer) == (200, {"data": {"__typename": "Query"}})


class TestHeaders:
    def test_a_repeated_header_is_one_and_others_are_not_read(self) -> None:
        headers = [(b"accept", b"a/b"), (b"x-other", b"c"), (b"content-type", b"d/e"), (b"accept", b"f/g")]
        assert read_headers({"headers": headers}, frozenset({b"accept", b"content-type"})) == {
            "accept": "a/b,f/g",
            "content-type": "d/e",
        }

    def test_reading_takes_time_in_proportion_to_what_is_sent(self) -> None:
        def cost(number: int) -> float:
            scope = {"headers": [(b"accept", b"application/json")] * number}
            costs = []
            for _ in range(5):
                begun = time.process_time()
                read_headers(scope, frozenset({b"accept"}))
                costs.append(time.process_time() - begun)
            return min(costs)

        assert cost(40_000) < 8 * cost(10_000), "16 times as long if each value is joined to all before it"


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
    async def test_every_malformed_body_is_400_and_the_next_request_is_served(
        self, server: Server, accept: str
    ) -> None:
        for body, expected in MALFORMED:
            response, answer = await post(server, body, accept=accept)
            assert response.status == 400, body[:60]
            assert response.content_type == accept
            assert expected in message(answer), body[:60]
        await assert_serves(server)

    async def test_null_is_as_good_as_left_out(self, server: Server) -> None:
        body = {"query": "{ __typename }", "variables": None, "operationName": None, "extensions": None, "id": 5}
        response, answer = await post(server, json.dumps(body).encode())
        assert (response.status, answer) == (200, {"data": {"__typename": "Query"}})

    @pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; Charset=UTF-8"])
    async def test_json_is_taken(self, server: Server, content_type: str) -> None:
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
    async def test_what_is_not_plain_json_is_415(self, server: Server, headers: dict[str, str]) -> None:
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
    async def test_a_blank_of_another_alphabet_is_part_of_a_type(self, server: Server, head: bytes) -> None:
        request = b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n%b\r\n\r\n%b"
        async with connection(server) as stranger:
            await stranger.send(request % (len(TYPENAME), head, TYPENAME), until=b"HTTP/1.1 415")

    @pytest.mark.parametrize(
        "parameters", ["charset=utf-8", 'Charset="UTF-8"', "charset = utf8", "note=x;charset=utf-8"]
    )
    async def test_utf8_may_be_named(self, server: Server, parameters: str) -> None:
        response, _ = await post(server, TYPENAME, content_type=f"{JSON} ; {parameters}")
        assert response.status == 200

    async def test_a_body_that_says_to_be_too_large_is_413(self, server: Server) -> None:
        response, answer = await post(server, TYPENAME.ljust(MAX_BODY + 1))
        assert response.status == 413
        assert message(answer) == "the body is too large; 262144 bytes are allowed"
        response, _ = await post(server, TYPENAME.ljust(MAX_BODY))
        assert response.status == 200

    async def test_a_body_that_says_to_be_too_large_is_refused_before_it_is_sent(self, server: Server) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
        writer.write(b"POST /graphql HTTP/1.1\r\nhost: localhost\r\n")
        writer.write(b"content-type: application/json\r\ncontent-length: 50000000\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            status = await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert status.startswith(b"HTTP/1.1 413 ")

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

    async def test_a_client_that_leaves_in_the_middle_of_its_body_harms_nobody(self, server: Server) -> None:
        async def half() -> AsyncIterator[bytes]:
            yield TYPENAME[:5]
            raise ConnectionAbortedError

        with pytest.raises((aiohttp.ClientError, ConnectionAbortedError)):
            await post(server, half())
        await assert_serves(server)

    @pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
    async def test_other_methods_are_405(self, server: Server, method: str) -> None:
        async with server.session.request(method, f"{server.url}/graphql", json={"query": CREATE}) as response:
            assert response.status == 405
            assert response.headers["allow"] == "GET, POST"
            if method == "HEAD":
                assert await response.read() == b""
            else:
                assert message(await response.json()) == f"use POST, or GET for queries, not {method}"


class TestOtherSites:
    """A browser asks before a page of another site may send JSON, and hides from the page what it may not read."""

    @staticmethod
    async def preflight(server: Server, origin: str) -> tuple[int, str | None]:
        headers = {
            "origin": origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        async with server.session.options(f"{server.url}/graphql", headers=headers) as response:
            return response.status, response.headers.get("access-control-allow-origin")

    @staticmethod
    async def readable_by(server: Server, origin: str) -> bool:
        response, _ = await post(server, TYPENAME, origin=origin)
        return response.headers.get("access-control-allow-origin") == origin

    @pytest.mark.parametrize(
        "origin", ["http://localhost:5173", "https://localhost", "http://127.0.0.1:3000", "http://[::1]:8080"]
    )
    async def test_a_page_of_this_laptop_may_call(self, server: Server, origin: str) -> None:
        assert await self.preflight(server, origin) == (200, origin)
        assert await self.readable_by(server, origin)

    @pytest.mark.parametrize(
        "origin",
        ["https://evil.example", "http://localhost.evil.example", "http://evil.example:80#localhost", "null"],
    )
    async def test_a_page_of_another_site_may_not(self, server: Server, origin: str) -> None:
        assert await self.preflight(server, origin) == (400, None)
        assert not await self.readable_by(server, origin)

    async def test_no_page_may_call_a_server_with_endpoints_unless_it_is_named(self, settings: Settings) -> None:
        endpoint = settings.endpoints[0]
        configured = {"DROPZERO_ENDPOINTS": f"{endpoint.region}={endpoint.url}"}
        async with serving(replace(read_settings(configured), region_times=PATIENT_TIMES)) as server:
            for origin in ("http://localhost:5173", "https://shop.example"):
                assert await self.preflight(server, origin) == (400, None)
                assert not await self.readable_by(server, origin)
        named = {**configured, "DROPZERO_ALLOWED_ORIGINS": "https://shop.example"}
        async with serving(replace(read_settings(named), region_times=PATIENT_TIMES)) as server:
            assert await self.preflight(server, "https://shop.example") == (200, "https://shop.example")
            assert not await self.readable_by(server, "https://shop-example")
            assert not await self.readable_by(server, "https://shop.example.evil.example")
            assert not await self.readable_by(server, "http://localhost:5173")


class TestDefects:
    async def test_a_defect_is_told_as_a_reference_that_the_log_explains(
        self, settings: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Broken:
            async def execute(self, *_: object) -> None:
                raise RuntimeError("password=hunter2")

        schema = make_schema()._schema
        admission = create_admission(settings)
        documents = Documents(schema, admission.turns)
        engine = Engine(None, Broken(), documents, None, Authenticator(None, admission.refusals), admission)  # type: ignore[arg-type]
        handler = GraphQLHTTP(engine, None, 12.0)
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": TYPENAME}

        async def send(event: Any) -> None:
            sent.append(event)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "headers": [(b"content-type", b"application/json")],
        }
        await handler(scope, receive, send)

        assert sent[0]["status"] == 500
        [error] = json.loads(sent[1]["body"])["errors"]
        assert error["extensions"] == {"code": "INTERNAL"}
        reference = re.fullmatch(r"Internal error; please report the reference (\w{12})\.", error["message"])
        assert reference is not None
        assert reference[1] in caplog.text
        assert "hunter2" in caplog.text

    async def test_graphiql_is_not_served_once_it_is_switched_off(self, settings: Settings) -> None:
        async with (
            serving(replace(settings, graphiql=False)) as server,
            server.session.get(f"{server.url}/graphql", headers={"accept": "text/html"}) as response,
        ):
            assert response.status == 406


async def test_who_guesses_the_operators_token_is_told_when_to_come_back(settings: Settings) -> None:
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
