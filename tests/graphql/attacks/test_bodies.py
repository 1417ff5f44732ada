"""Hostile bodies of a POST. tests/graphql/test_http.py has the bodies that are malformed without intent."""

import gzip
import json
from typing import Any

import pytest

from tests.graphql.attacks.requests import AS_OPERATOR, JSON, NEWER, post, send
from tests.server import Server

TYPENAME = b'{"query":"{ __typename }"}'
CREATE = 'mutation { createProduct(input: {name: "Tee", dropName: "Smuggled", stock: 1}) { id } }'

PAGE = b'{"query":"query ($n: Int) { products(first: $n) { edges { cursor } } }","variables":{"n":%s}}'
PRODUCT = b'{"query":"query ($id: ID!) { product(id: $id) { id } }","variables":{"id":%s}}'
PURCHASE = b'{"query":"mutation ($w: PurchaseInput!) { purchase(input: $w) { status } }","variables":{"w":%s}}'

NOT_JSON = "the body must be JSON in UTF-8"
NO_QUERY = "query must be a GraphQL document"

REFUSED = {
    "nested 40,000 deep in extensions": (
        b'{"query":"{ now }","extensions":{"a":' + b"[" * 40_000 + b"]" * 40_000 + b"}}",
        NOT_JSON,
    ),
    "nested 40,000 deep beside the query": (
        b'{"query":"{ now }","a":' + b"[" * 40_000 + b"]" * 40_000 + b"}",
        NOT_JSON,
    ),
    "nested 40,000 deep without an end": (b'{"query":' + b"[" * 40_000, NOT_JSON),
    "a list nested 1,000 deep": (PRODUCT % (b"[" * 1000 + b"]" * 1000), "nested too deeply"),
    "an object nested 1,000 deep": (PURCHASE % (b'{"a":' * 1000 + b"1" + b"}" * 1000), "nested too deeply"),
    "the number 10^5000": (PAGE % b"1e5000", NOT_JSON),
    "the number -10^5000": (PAGE % b"-1e5000", NOT_JSON),
    "a number of 5,000 digits": (PAGE % (b"9" * 5000), NOT_JSON),
    "an id of 5,000 digits": (PRODUCT % (b"9" * 5000), NOT_JSON),
    "the number 2^63": (PAGE % b"9223372036854775808", "non 32-bit signed integer"),
    "the number 2^64": (PAGE % b"18446744073709551616", "non 32-bit signed integer"),
    "true for a number": (PAGE % b"true", "Int cannot represent non-integer value"),
    "an object for an id": (PRODUCT % b'{"$gt":""}', "ID cannot represent value"),
    "a list for an input": (PURCHASE % b"[[]]", "Expected value of type 'PurchaseInput' to be an object"),
    "a prototype": (PURCHASE % b'{"productId":"x","userRef":"x","__proto__":{}}', "'__proto__'"),
    "a class": (PURCHASE % b'{"productId":"x","userRef":"x","__class__":{}}', "'__class__'"),
    "10,000 unknown fields": (PURCHASE % json.dumps({f"a{n}": n for n in range(10_000)}).encode(), "PurchaseInput"),
    "a lone surrogate in a name": (b'{"query":"{ now }","variables":{"\\udfff":1}}', "surrogate"),
    "a lone surrogate in CESU-8": (b'{"query":"{ now }\xed\xa0\x80"}', NOT_JSON),
    "an overlong encoding": (b'{"query":"{ now }\xc0\xaf"}', NOT_JSON),
    "UTF-16": ('{"query":"{ now }"}'.encode("utf-16"), NOT_JSON),
    "UTF-16 without a mark": ('{"query":"{ now }"}'.encode("utf-16-le"), NOT_JSON),
    "UTF-32": ('{"query":"{ now }"}'.encode("utf-32"), NOT_JSON),
    "a whole gzip": (gzip.compress(TYPENAME), NOT_JSON),
    "a bare NUL": (b'{"query":"{ now }\0"}', NOT_JSON),
    "a bare control character": (b'{"query":"{ now }\x01"}', NOT_JSON),
    "a second document": (TYPENAME + TYPENAME, NOT_JSON),
    "a comma at the end": (b'{"query":"{ now }",}', NOT_JSON),
    "a comment": (b'{"query":"{ now }"/**/}', NOT_JSON),
    "quotes of Python": (b"{'query':'{ now }'}", NOT_JSON),
    "infinity": (PAGE % b"Infinity", NOT_JSON),
    "a batch in a batch": (b'[[{"query":"{ now }"}]]', "batches are not taken"),
    "a batch of 1,000": (b"[" + b",".join([TYPENAME] * 1000) + b"]", "batches are not taken"),
    "a batch by number": (b'{"0":{"query":"{ now }"},"1":{"query":"{ now }"}}', NO_QUERY),
    "QUERY in capitals": (b'{"QUERY":"{ now }"}', NO_QUERY),
    "a list for the query": (b'{"query":["{ now }"]}', NO_QUERY),
    "an object for the query": (b'{"query":{"a":"{ now }"}}', NO_QUERY),
    "true for the query": (b'{"query":true}', NO_QUERY),
    "a number for variables": (b'{"query":"{ now }","variables":5}', "variables must be an object"),
    "false for variables": (b'{"query":"{ now }","variables":false}', "variables must be an object"),
    "a string for extensions": (b'{"query":"{ now }","extensions":"x"}', "extensions must be an object"),
    "a list for operationName": (b'{"query":"{ now }","operationName":[]}', "operationName must be a string"),
    "an object for operationName": (b'{"query":"{ now }","operationName":{}}', "operationName must be a string"),
    "false for operationName": (b'{"query":"{ now }","operationName":false}', "operationName must be a string"),
    "an empty operationName": (b'{"query":"{ now }","operationName":""}', "Unknown operation named ''"),
    "a fragment for operationName": (
        b'{"query":"query A { ...F } fragment F on Query { now }","operationName":"F"}',
        "Unknown operation named 'F'",
    ),
    "200,000 characters of operationName": (
        b'{"query":"query A { now }","operationName":"' + b"x" * 200_000 + b'"}',
        "Unknown operation named 'xxx",
    ),
}

ANSWERED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "blanks around it": (b" \r\n\t" + TYPENAME + b"\n", {"__typename": "Query"}),
    "a surrogate pair": (b'{"query":"{ __typename }","variables":{"\\ud83d\\ude00":1}}', {"__typename": "Query"}),
    "10,000 variables of no use": (
        json.dumps({"query": "{ __typename }", "variables": {f"a{n}": n for n in range(10_000)}}).encode(),
        {"__typename": "Query"},
    ),
    "a prototype in vain": (
        b'{"query":"{ __typename }","__proto__":{"query":"{ now }"},"variables":{"__proto__":1,"constructor":1}}',
        {"__typename": "Query"},
    ),
    "the last of two queries": (
        json.dumps({"query": CREATE})[:-1].encode() + b"," + TYPENAME[1:],
        {"__typename": "Query"},
    ),
    "the last of two values": (
        b'{"query":"query ($id: ID!) { product(id: $id) { id } }",'
        b'"variables":{"id":"x","id":"00000000-0000-4000-8000-000000000000"}}',
        {"product": None},
    ),
}

ENCODED = [
    {"content-type": "text/xml"},
    {"content-type": "application/xml"},
    {"content-type": "text/json"},
    {"content-type": "application/json5"},
    {"content-type": "application/x-ndjson"},
    {"content-type": "application/octet-stream"},
    {"content-type": "application/graphql+json"},
    {"content-type": "application/graphql-response+json"},
    {"content-type": "application/json, text/plain"},
    {"content-type": "application/json; charset=utf-16"},
    {"content-type": "application/json; charset=utf-7"},
    {"content-type": "text/plain; application/json"},
    {"content-type": "application/json", "content-encoding": "deflate"},
    {"content-type": "application/json", "content-encoding": "br"},
    {"content-type": "application/json", "content-encoding": "zstd"},
    {"content-type": "application/json", "content-encoding": "gzip, identity"},
]

LONG = "x" * 200_000


@pytest.mark.parametrize(("body", "message"), REFUSED.values(), ids=REFUSED)
async def test_a_hostile_body_is_refused(server: Server, body: bytes, message: str) -> None:
    answer = await post(server, body, AS_OPERATOR)
    answer.assert_refused(400, message)
    assert len(answer.body) < 10_000


@pytest.mark.parametrize(("body", "data"), ANSWERED.values(), ids=ANSWERED)
async def test_an_odd_body_is_answered_by_the_last_of_its_values(
    server: Server, body: bytes, data: dict[str, Any]
) -> None:
    (await post(server, body, AS_OPERATOR)).assert_data(data)
    assert await server.data('{ products(dropName: "Smuggled") { edges { cursor } } }') == {"products": {"edges": []}}


@pytest.mark.parametrize("headers", ENCODED, ids=lambda headers: " ".join(headers.values()))
async def test_a_body_that_is_not_plain_json_is_415(server: Server, headers: dict[str, str]) -> None:
    answer = await send(server, "POST", "/graphql", TYPENAME, [NEWER, *headers.items()])
    answer.assert_refused(415, "send the request")


async def test_a_body_with_two_types_is_415(server: Server) -> None:
    for second in ("text/plain", "application/json"):
        answer = await send(server, "POST", "/graphql", TYPENAME, [NEWER, JSON, ("content-type", second)])
        answer.assert_refused(415, "send the request")


@pytest.mark.parametrize(
    ("query", "variables", "message"),
    [
        ("query ($a: ID!) { product(id: $a) { id } }", {"a": LONG}, "id must be a UUID"),
        ("query ($a: String) { products(after: $a) { edges { cursor } } }", {"a": LONG}, "after is not a cursor"),
        ("query ($a: String) { products(dropName: $a) { edges { cursor } } }", {"a": LONG}, "dropName must have 1 to"),
        ("query ($a: String) { orders(userRef: $a) { edges { cursor } } }", {"a": LONG}, "userRef must have 1 to"),
        (
            "mutation ($a: ID!, $b: String!) { cancelOrder(input: {orderId: $a, userRef: $b}) { id } }",
            {"a": "00000000-0000-4000-8000-000000000000", "b": LONG},
            "userRef must have 1 to",
        ),
    ],
    ids=["id", "after", "dropName", "userRef", "userRef of a cancellation"],
)
async def test_the_refusal_of_a_value_of_200_000_characters_is_short(
    server: Server, query: str, variables: dict[str, str], message: str
) -> None:
    answer = await post(server, {"query": query, "variables": variables})
    [error] = answer.json["errors"]
    assert (answer.status, error["extensions"]["code"]) == (200, "BAD_USER_INPUT")
    assert message in error["message"]
    assert len(answer.body) < 1000


async def test_the_query_string_of_a_post_is_ignored(server: Server) -> None:
    address = "/graphql?query=mutation{createProduct(input:{name:%22x%22,dropName:%22Smuggled%22,stock:1}){id}}"
    answer = await send(server, "POST", address, TYPENAME, [JSON, AS_OPERATOR])
    answer.assert_data({"__typename": "Query"})
    (await send(server, "POST", address, headers=[JSON, NEWER, AS_OPERATOR])).assert_refused(400, NOT_JSON)
    assert await server.data('{ products(dropName: "Smuggled") { edges { cursor } } }') == {"products": {"edges": []}}


@pytest.mark.parametrize(
    "header", ["x-http-method-override", "x-http-method", "x-method-override", "x-original-method"]
)
async def test_no_header_changes_the_method(server: Server, header: str) -> None:
    answer = await send(server, "POST", "/graphql", TYPENAME, [JSON, (header, "DELETE")])
    answer.assert_data({"__typename": "Query"})
    target = "/graphql?query=mutation{createProduct(input:{name:%22x%22,dropName:%22Smuggled%22,stock:1}){id}}"
    answer = await send(server, "GET", target, headers=[NEWER, AS_OPERATOR, (header, "POST")])
    answer.assert_refused(405, "GET is for queries; send a mutation by POST")
    assert answer.headers["allow"] == "POST"
