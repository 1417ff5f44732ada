"""What pages of other sites can do with a visitor's browser: send forms, frame our pages, and inject text."""

import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.graphql.attacks.requests import AS_OPERATOR, JSON, NEWER, post, send
from tests.graphql.http_requests import CODES
from tests.protocol.frames import HANDSHAKE, LINE
from tests.protocol.raw import Answer, connection_to
from tests.server import Server

PAGES = ["/", "/drop/0d509e70-0000-4000-8000-000000000001", "/architecture", "/nothing"]

HOSTILE = [
    "https://evil.example",
    "http://localhost.",
    "http://localhost:5173.evil.example",
    "http://localhost@evil.example",
    "http://evil@localhost:5173",
    "http://LOCALHOST:5173",
    "HTTP://localhost:5173",
    "http://xlocalhost:5173",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.2",
    "http://127.1",
    "http://2130706433",
    "http://[::1].evil.example",
    "http://[::]",
    "http://localhost:",
    "http://localhost:5173/",
    "http://localhost:5173#",
    "http://localhost:5173,http://evil.example",
    "http://localhost:5173%00.evil.example",
    "ws://localhost:5173",
    "localhost",
    "file://",
    "chrome-extension://abcdefgh",
    "http://shop.example",
    "https://SHOP.example",
    "https://shop.example:443",
    "https://shop.example:8443",
    "https://shop.example.",
    "https://shop.example/",
    "https://evil-shop.example",
    "https://a.shop.example",
    "https://shop.example@evil.example",
    "https://shop.example, https://shop.example",
    "https://evil-vercel.app",
    "https://acme.vercel.app",
    "https://-acme.vercel.app",
    "https://*-acme.vercel.app",
    "https://shop-evil.vercel.app",
    "https://shop-acme-vercel.app",
    "https://shop-acme.vercelxapp",
    "https://shop-acme.vercel.app.evil.example",
    "https://evil.shop-acme.vercel.app",
    "https://evil.example/-acme.vercel.app",
    "https://evil.example#-acme.vercel.app",
    "https://evil@shop-acme.vercel.app",
    "https://evil.example, https://shop-acme.vercel.app",
    "http://shop-acme.vercel.app",
    "https://shop-ACME.vercel.app",
    "https://shop-acme.vercel.app:443",
    "https://shop-acme.vercel.app:8443",
    "https://shop-acme.vercel.app.",
    "https://\u0455hop-acme.vercel.app",
    "https://shop\uff0eevil-acme.vercel.app",
    "https://shop-acme.vercel\u3002app",
    "capacitor://evil",
    "capacitor://localhost:80",
    "capacitor://localhost.evil.example",
    "CAPACITOR://localhost",
    "ionic://localhost",
    "null",
    "*",
    "",
]


@pytest.mark.parametrize("origin", HOSTILE)
async def test_a_page_of_another_site_may_read_no_answer(server: Server, origin: str) -> None:
    asked = [("origin", origin), ("access-control-request-method", "POST")]
    preflight = await send(server, "OPTIONS", "/graphql", headers=[*asked, ("access-control-request-headers", "x")])
    assert preflight.status == 400
    for method in ("PUT", "DELETE"):  # without them it reserves no event stream, and ends no operation of one
        named = [("origin", origin), ("access-control-request-method", method)]
        assert (await send(server, "OPTIONS", "/graphql", headers=named)).status == 400
    answers = [
        preflight,
        await send(server, "OPTIONS", "/graphql", headers=asked),
        await post(server, {"query": "{ __typename }"}, ("origin", origin)),
        await send(server, "GET", "/graphql?query={__typename}", headers=[("origin", origin)]),
        await send(server, "GET", "/metrics", headers=[("origin", origin), AS_OPERATOR]),
        await send(server, "GET", "/readyz", headers=[("origin", origin)]),
    ]
    assert [each.status for each in answers] == [400, 400, 200, 200, 200, 200]
    for each in answers:
        assert "access-control-allow-origin" not in each.headers
        assert "access-control-allow-credentials" not in each.headers


@pytest.mark.parametrize("origin", HOSTILE)
async def test_a_page_of_another_site_may_open_no_websocket(server: Server, origin: str) -> None:
    answer = await upgrade(server, origin)
    assert (answer.status, answer.body) == (403, b"pages of this origin may not connect\n")


async def test_an_allowed_page_may_open_a_websocket(server: Server, allowed_origin: str) -> None:
    assert (await upgrade(server, allowed_origin)).status == 101


async def upgrade(server: Server, origin: str) -> Answer:
    """Open a websocket with this header, unchanged. Returns the answer."""
    lines = [LINE, b"Host: " + urlsplit(server.url).netloc.encode(), *HANDSHAKE, b"Origin: " + origin.encode()]
    async with connection_to(server) as connection:
        await connection.send(b"\r\n".join([*lines, b"", b""]))
        return await connection.answer()


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("PATCH", "content-type"),
        ("TRACE", "content-type"),
        ("POST", "cookie"),
        ("POST", "x-http-method-override"),
        ("POST", "content-type, x-evil"),
        ("POST", "content-type, x-forwarded-for"),
        ("POST", "traceparent-evil"),
        ("POST", "*"),
    ],
)
async def test_an_allowed_page_may_use_no_other_method_or_header(
    server: Server, allowed_origin: str, method: str, headers: str
) -> None:
    asked = {
        "origin": allowed_origin,
        "access-control-request-method": method,
        "access-control-request-headers": headers,
    }
    assert (await send(server, "OPTIONS", "/graphql", headers=asked.items())).status == 400


async def test_an_allowed_page_may_send_no_cookies_and_use_no_private_network(
    server: Server, allowed_origin: str
) -> None:
    asked = {
        "origin": allowed_origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    assert (await send(server, "OPTIONS", "/graphql", headers=asked.items())).status == 200
    private = [*asked.items(), ("access-control-request-private-network", "true")]
    for answer in (
        await send(server, "OPTIONS", "/graphql", headers=asked.items()),
        await send(server, "OPTIONS", "/graphql", headers=private),
        await post(server, {"query": "{ __typename }"}, ("origin", allowed_origin)),
    ):
        assert "access-control-allow-credentials" not in answer.headers
        assert "access-control-allow-private-network" not in answer.headers
        assert "Origin" in answer.headers["vary"]


def form(content_type: str | None, body: bytes) -> list[tuple[str, str]]:
    """The headers that a browser sends with a form, or with another request that needs no preflight."""
    named = [] if content_type is None else [("content-type", content_type)]
    cross = [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]
    return [NEWER, AS_OPERATOR, *cross, *named, ("cookie", "session=1")]


FORMS: dict[str, tuple[str | None, str]] = {
    "a form of text": ("text/plain", "{json}"),
    "a form of text with its equals sign": ("text/plain", '{open},"x":"="}}'),
    "a form of text in UTF-8": ("text/plain; charset=utf-8", "{json}"),
    "a form that says JSON as well": ("text/plain; application/json", "{json}"),
    "a form of fields": ("application/x-www-form-urlencoded", "query={query}"),
    "a form of fields that is JSON": ("application/x-www-form-urlencoded", "{json}"),
    "a form of parts": (
        "multipart/form-data; boundary=x",
        '--x\r\ncontent-disposition: form-data; name="operations"\r\n\r\n{json}\r\n--x--\r\n',
    ),
    "bytes of no type": (None, "{json}"),
    "bytes of an empty type": ("", "{json}"),
}


@pytest.mark.parametrize(("content_type", "text"), FORMS.values(), ids=FORMS)
async def test_a_form_of_another_site_buys_nothing(
    server: Server, product_id: str, content_type: str | None, text: str
) -> None:
    query = f'mutation {{ purchase(input: {{productId: "{product_id}", userRef: "eve"}}) {{ status }} }}'
    whole = json.dumps({"query": query})
    body = text.format(json=whole, open=whole[:-1], query=query).encode()
    answer = await send(server, "POST", "/graphql", body, form(content_type, body))
    answer.assert_refused(415, "send the request with content-type: application/json")
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("target", ["/", "/architecture", "/drop/0d509e70-0000-4000-8000-000000000001", "/readyz"])
async def test_a_form_of_another_site_is_405_on_every_page(server: Server, target: str) -> None:
    body = b"query=mutation"
    answer = await send(server, "POST", target, body, form("application/x-www-form-urlencoded", body))
    assert (answer.status, answer.allowed()) == (405, {"GET", "HEAD"})


async def test_an_image_of_another_site_buys_nothing(server: Server, product_id: str) -> None:
    bought = f"mutation{{purchase(input:{{productId:%22{product_id}%22,userRef:%22eve%22}}){{status}}}}"
    answer = await send(server, "GET", f"/graphql?query={bought}", headers=form(None, b""))
    answer.assert_refused(405, "GET is for queries; send a mutation by POST")


@pytest.mark.parametrize("target", [*PAGES, "/static/api.js"])
async def test_no_other_site_may_frame_a_page(server: Server, target: str) -> None:
    answer = await send(server, "GET", target)
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert "base-uri 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_no_other_site_may_frame_graphiql(server: Server) -> None:
    answer = await send(server, "GET", "/graphql", headers=[("accept", "text/html")])
    assert answer.status == (200 if server.settings.graphiql else 406)
    if server.settings.graphiql:
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


MARKUP = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "{{7*7}} ${alert(1)} javascript:alert(1)",
    "<!--<b>&lt;b&gt;",
]


class Elements(HTMLParser):
    """The elements of a document, with the names of their attributes, and its text."""

    def __init__(self, document: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.text = ""
        self.feed(document)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", MARKUP)
async def test_markup_in_a_name_is_text_in_json_and_on_every_page(server: Server, name: str) -> None:
    plain_id = await server.create_product(name="Tee", dropName="Tee")
    plain = Elements((await send(server, "GET", f"/drop/{plain_id}")).body.decode())
    product_id = await server.create_product(name=name, dropName=name)
    query = {"query": "query ($id: ID!) { product(id: $id) { name dropName } }", "variables": {"id": product_id}}
    answer = await send(server, "POST", "/graphql", json.dumps(query).encode(), [JSON, ("accept", "text/html, */*")])
    answer.assert_data({"product": {"name": name, "dropName": name}})
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    document = Elements((await send(server, "GET", f"/drop/{product_id}")).body.decode())
    assert document.found == plain.found
    assert name in document.text
    for target in PAGES:
        elements = {tag for tag, *_ in Elements((await send(server, "GET", target)).body.decode()).found}
        assert not elements & {"b", "svg"}, "the list shows names as text, too"
    graphiql = await send(server, "GET", "/graphql", headers=[("accept", "text/html")])
    assert name.encode() not in graphiql.body


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img/src=x>', "'-alert(1)-'"])
async def test_no_page_repeats_its_address(server: Server, name: str) -> None:
    for target in (f"/{name}", f"/?lang={name}", f"/drop/{name}", f"/static/{name}", f"/architecture?x={name}"):
        assert name.encode() not in (await send(server, "GET", target)).body


@pytest.mark.parametrize(
    "query", ["{ <script>alert(1)</script> }", '{ product(id: "<script>alert(1)</script>") { id } }']
)
async def test_a_message_that_repeats_markup_is_json(server: Server, query: str) -> None:
    headers: list[tuple[str, Any]] = [JSON, ("accept", "text/html, application/json;q=0.1, */*;q=0.1")]
    answer = await send(server, "POST", "/graphql", json.dumps({"query": query}).encode(), headers)
    assert answer.json["errors"][0]["extensions"]["code"] in CODES
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
