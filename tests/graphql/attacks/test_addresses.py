"""Hostile addresses and methods: mutations by GET, paths out of a folder, redirects, spoofed headers and caches."""

import pytest

from api.database.pool import Pool
from api.drops.new_product import create_product
from api.drops.sample import SAMPLE
from tests.graphql.attacks.requests import AS_OPERATOR, NEWER, send
from tests.server import Server

PAGES = ["/", f"/drop/{SAMPLE.id}", "/architecture"]
FILES = ["/static/api.js", "/static/storefront.css"]
PLAIN = ["/healthz", "/readyz"]
NOWHERE = ["/nothing", "/static/", "/static/nothing.js"]
EVERYWHERE = [*PAGES, *FILES, *PLAIN, *NOWHERE, "/graphql", "/metrics"]

CREATE = "mutation{createProduct(input:{name:%22x%22,dropName:%22By+address%22,stock:1}){id}}"
WATCH = "subscription{stockChanged(productIds:[%22x%22]){stock}}"
MUTATION = "GET is for queries; send a mutation by POST"
SOCKET = "a subscription needs a websocket"


@pytest.fixture(scope="module", autouse=True)
async def sample(shared_pool: Pool) -> None:
    await create_product(shared_pool, SAMPLE)


GETS = {
    "a mutation behind a query": (405, f"query={{__typename}}&query={CREATE}", MUTATION),
    "a mutation in a fragment": (405, "query=mutation{...F}+fragment+F+on+Mutation{__typename}", MUTATION),
    "a mutation of nothing": (405, "query=mutation{__typename}", MUTATION),
    "a mutation behind a semicolon": (400, f"query={{__typename}};query={CREATE}", "Unexpected character"),
    "a query or a mutation": (400, "query=query+A{now}+mutation+B{__typename}", "Must provide operation name"),
    "neither of two mutations": (
        400,
        "query=mutation+A{__typename}+mutation+B{__typename}&operationName=C",
        "Unknown operation named 'C'",
    ),
    "a subscription": (400, f"query={WATCH}", SOCKET),
    "a subscription by its name": (400, f"query=query+A{{now}}+subscription+B{WATCH[12:]}&operationName=B", SOCKET),
    "a list of queries": (400, "query[]={__typename}", "query must be a GraphQL document"),
    "QUERY in capitals": (400, "QUERY={__typename}", "query must be a GraphQL document"),
    "NUL": (400, "query={__typename}%00", "U+0000"),
    "10^5000 in variables": (400, "query={__typename}&variables={%22a%22:1e5000}", "variables must be JSON"),
    "a string for variables": (400, "query={__typename}&variables=%22x%22", "variables must be an object"),
    "a list for extensions": (400, "query={__typename}&extensions=[]", "extensions must be an object"),
    "an unknown operationName": (400, "query={__typename}&operationName=B", "Unknown operation named 'B'"),
}


@pytest.mark.parametrize(("status", "query_string", "message"), GETS.values(), ids=GETS)
async def test_a_get_changes_nothing_and_watches_nothing(
    server: Server, status: int, query_string: str, message: str
) -> None:
    answer = await send(server, "GET", f"/graphql?{query_string}", headers=[NEWER, AS_OPERATOR])
    answer.assert_refused(status, message)
    assert answer.headers["cache-control"] == "no-store"
    assert await server.data('{ products(dropName: "By address") { edges { cursor } } }') == {"products": {"edges": []}}


async def test_other_parameters_do_not_change_the_answer_to_a_get(server: Server) -> None:
    for more in ("&callback=alert", "&query={__typename}", "&pretty=1&raw=1", "&variables=null"):
        answer = await send(server, "GET", f"/graphql?query={{__typename}}{more}")
        answer.assert_data({"__typename": "Query"})
        assert answer.headers["content-type"] == "application/json; charset=utf-8"


async def test_the_body_of_a_get_is_ignored(server: Server) -> None:
    body = b'{"query":"mutation { __typename }"}'
    headers = [NEWER, AS_OPERATOR, ("content-type", "application/json")]
    answer = await send(server, "GET", "/graphql?query={__typename}", body, headers)
    answer.assert_data({"__typename": "Query"})
    answer = await send(server, "GET", "/graphql", body, headers)
    answer.assert_refused(400, "query must be a GraphQL document")


TRAVERSALS = [
    "/static/../pages.py",
    "/static/../../api/storefront/pages.py",
    "/static/%2e%2e/pages.py",
    "/static/%2e%2e%2fpages.py",
    "/static/..%2fpages.py",
    "/static/.%2e/pages.py",
    "/static/%252e%252e/pages.py",
    "/static/..\\pages.py",
    "/static/..%5cpages.py",
    "/static/%5c..%5cpages.py",
    "/static//etc/passwd",
    "/static///etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static//%2e%2e/pages.py",
    "/static/....//pages.py",
    "/static/..;/pages.py",
    "/static/%c0%ae%c0%ae/pages.py",
    "/static/..%00/pages.py",
    "/static/api.js%00.html",
    "/static/api.js/../../layout.html",
    "/static/a" + "/..%2f" * 50 + "etc/passwd",
    "/static/file:///etc/passwd",
    "/static/~root/.bashrc",
    "/static/C:/windows/win.ini",
    "/static/api.js::$DATA",
    "/static/api.js%20",
    "/static/API.JS",
    "/static/.",
    "/static/..",
    "/static/%2e",
    "/static/" + "a" * 5000,
    "/static/" + "a/" * 2000,
    "/..%2f..%2fapi/pages.py",
    "/drop/..%2f..%2fapi/pages.py",
]


@pytest.mark.parametrize("target", TRAVERSALS, ids=lambda target: target[:40])
async def test_no_address_leads_out_of_the_static_folder(server: Server, target: str) -> None:
    answer = await send(server, "GET", target)
    assert answer.status == 404
    assert b"import " not in answer.body
    assert b"root:" not in answer.body


async def test_an_address_with_a_bare_nul_is_400(server: Server) -> None:
    for target in (b"/static/\0", b"/\0", b"/static/..\0/pages.py"):
        assert (await send(server, "GET", target)).status == 400


RANGES = [
    "bytes=0-0,2-2",
    "bytes=99999999-",
    "bytes=5-1",
    "bytes=a-b",
    "lines=1-2",
    "bytes=" + ",".join(f"{number}-{number}" for number in range(1000)),
]


@pytest.mark.parametrize("ranges", RANGES, ids=[ranges[:20] for ranges in RANGES])
async def test_ranges_are_answered_with_the_whole_file(server: Server, ranges: str) -> None:
    whole = await send(server, "GET", "/static/api.js")
    answer = await send(server, "GET", "/static/api.js", headers=[("range", ranges)])
    assert (answer.status, answer.body) == (200, whole.body)


NO_PAGES = [
    "//evil.example",
    "//evil.example/",
    "///evil.example/..",
    "/%2f%2fevil.example",
    "/\\evil.example",
    "/%5cevil.example",
    "/%09/evil.example",
    "/%0d%0aset-cookie:a=b",
    "/%0d%0alocation:%20//evil.example",
    "/@evil.example",
    "/.evil.example",
    "/static",
    "/static//evil.example/..",
    "/drop",
    "/drop/",
    "/drop//evil.example",
    "/architecture/",
    "/graphql%00",
    "/graphql;x.css",
    "/graphql/x.css",
    "/drop/0d509e70-0000-4000-8000-000000000001/",
    "/drop/0d509e70-0000-4000-8000-000000000001/x.css",
    "/healthz/",
    "/metrics/",
    "/metrics/x.css",
    "/metrics%00",
    "/METRICS",
    "/./metrics",
    "/x/../metrics",
    "//metrics",
    "*",
]


@pytest.mark.parametrize("target", ["/graphql/", "/graphql%2f"])
async def test_graphql_with_a_trailing_slash_leads_to_graphql_on_this_server(server: Server, target: str) -> None:
    answer = await send(server, "GET", target, headers=[AS_OPERATOR])
    assert (answer.status, answer.headers["location"]) == (308, "/graphql")


@pytest.mark.parametrize("target", NO_PAGES)
async def test_an_address_that_is_nearly_right_is_404(server: Server, target: str) -> None:
    answer = await send(server, "GET", target, headers=[AS_OPERATOR])
    assert answer.status == 404
    assert "location" not in answer.headers
    assert "set-cookie" not in answer.headers
    assert b"dropzero_purchases" not in answer.body


@pytest.mark.parametrize(
    "query_string", ["lang=//evil.example", "next=//evil.example", "url=http://evil.example", "%0d%0a"]
)
async def test_no_parameter_redirects(server: Server, query_string: str) -> None:
    for page in PAGES:
        answer = await send(server, "GET", f"{page}?{query_string}")
        assert answer.status == 200
        assert "location" not in answer.headers
        assert b"evil.example" not in answer.body


async def test_another_spelling_does_not_open_the_metrics(server: Server) -> None:
    open_to_all = 200 if server.settings.open_metrics else 401
    for target in ("/metrics", "/%6detrics", "/%6D%65trics", "/metrics?", "/metrics?token=x"):
        assert (await send(server, "GET", target)).status == open_to_all


FORWARDED = [
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "javascript"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-port", "1"),
    ("forwarded", "host=evil.example;proto=https"),
    ("x-host", "evil.example"),
    ("x-original-url", "/metrics"),
    ("x-rewrite-url", "/metrics"),
    ("x-real-ip", "127.0.0.1"),
    ("via", "1.1 evil.example"),
]


@pytest.mark.parametrize("target", [*PAGES, *FILES, *PLAIN, "/nothing", "/graphql?query={__typename}"])
async def test_the_headers_of_a_proxy_change_no_answer(server: Server, target: str) -> None:
    plain = await send(server, "GET", target)
    for header in FORWARDED:
        answer = await send(server, "GET", target, headers=[header])
        assert (answer.status, answer.body) == (plain.status, plain.body)
        assert {*answer.headers.items()} - {*plain.headers.items()} <= {("date", answer.headers["date"])}


COOKIES = {
    "dropzero_language=ar; dropzero_language=ko": "ko",
    'dropzero_language="><script>alert(1)</script>': "en",
    "dropzero_language=" + "a" * 5000: "en",
    "dropzero_language=../../ar": "en",
    "=;;=;": "en",
    "lang=ar": "en",
}


@pytest.mark.parametrize(("cookie", "language"), COOKIES.items(), ids=[cookie[:30] for cookie in COOKIES])
async def test_a_cookie_chooses_a_language_and_nothing_else(server: Server, cookie: str, language: str) -> None:
    for page in [*PAGES, "/nothing"]:
        plain = await send(server, "GET", page, headers=[("accept-language", language)])
        answer = await send(server, "GET", page, headers=[("cookie", cookie)])
        assert (answer.headers["content-language"], answer.body) == (language, plain.body)
        assert answer.headers["etag"] == plain.headers["etag"]
        assert answer.headers["vary"] == "accept-encoding, accept-language, cookie"


async def test_no_cache_may_send_an_answer_to_another_reader(server: Server) -> None:
    for target in [*PAGES, "/?lang=ar", "/nothing"]:
        answer = await send(server, "GET", target)
        # The page of a product has a key of its own in each response.
        assert answer.headers["cache-control"] == ("private, no-cache" if "/drop/" in target else "no-cache")
        assert answer.headers["vary"] == "accept-encoding, accept-language, cookie"
    for method, target in (("GET", "/graphql?query={__typename}"), ("POST", "/graphql"), ("PUT", "/graphql")):
        assert (await send(server, method, target)).headers["cache-control"] == "no-store"


async def test_no_answer_sets_a_cookie_or_names_the_software(server: Server) -> None:
    for target in EVERYWHERE:
        answer = await send(server, "GET", target, headers=[("cookie", "session=1")])
        assert not {"set-cookie", "server", "x-powered-by"} & {name.lower() for name in answer.headers}


METHODS = ["OPTIONS", "PUT", "POST", "DELETE", "PATCH", "TRACE"]
OTHER_METHODS = ["PROPFIND", "MKCOL", "QUERY", "LOCK"]


@pytest.mark.parametrize("target", [*PAGES, *FILES, *PLAIN, *NOWHERE, "/metrics"])
async def test_a_page_is_405_for_methods_that_do_not_read(server: Server, target: str) -> None:
    for method in METHODS:
        answer = await send(server, method, target, headers=[AS_OPERATOR, ("x-secret", "not to be traced")])
        assert answer.status == 405, method
        assert answer.allowed() == {"GET", "HEAD"}
        assert b"not to be traced" not in answer.body
    for method in OTHER_METHODS:
        answer = await send(server, method, target, headers=[AS_OPERATOR, ("x-secret", "not to be traced")])
        assert answer.status == 405, method
        assert b"not to be traced" not in answer.body


@pytest.mark.parametrize("target", [*PAGES, *FILES, *PLAIN, *NOWHERE, "/metrics"])
async def test_head_is_get_without_a_body(server: Server, target: str) -> None:
    """Figures change from one request to the next, and so may the length of all of them. There, one pair of many has to
    be equal."""
    for _ in range(100 if target == "/metrics" else 1):
        get = await send(server, "GET", target, headers=[AS_OPERATOR])
        head = await send(server, "HEAD", target, headers=[AS_OPERATOR])
        assert (head.status, head.body) == (get.status, b"")
        if head.headers["content-length"] == get.headers["content-length"]:
            return
    pytest.fail(f"{head.headers['content-length']} bytes of HEAD, {get.headers['content-length']} of GET")


@pytest.mark.parametrize("method", OTHER_METHODS)
async def test_graphql_is_405_for_methods_of_other_protocols(server: Server, method: str) -> None:
    answer = await send(server, method, "/graphql?query={__typename}", headers=[NEWER])
    assert answer.status == 405


@pytest.mark.parametrize("method", ["FOO", "get", "GET\t", "G" * 5000])
async def test_a_malformed_method_is_400(server: Server, method: str) -> None:
    for target in EVERYWHERE:
        assert (await send(server, method, target)).status == 400
