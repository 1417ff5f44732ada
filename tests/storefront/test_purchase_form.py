"""Buying without script: the form of a product's page, its answers, its guest, and the pages of other sites."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from api.database.pool import Pool
from api.graphql.requests import MAX_BODY
from api.identity.authenticator import FREE_GUESTS
from api.settings import Settings, read_settings
from api.storefront.purchase_form import MAX_FORM
from tests.graphql.several import until_waiting
from tests.locks import stock_held, until_blocked
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server, serving
from tests.storefront.shop import Browser, key_in, orders_of

KEY = "0123456789abcdef" * 2
PAUSE = "mutation ($id: ID!) { pauseProduct(productId: $id) { revision } }"
CANCEL = "mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) { status } }"
VIEWER = "{ viewer { subject } }"


@pytest.fixture(scope="module")
async def server(shared_server: Server) -> AsyncIterator[Server]:
    """A server with guests, on the module's database."""
    async with serving(replace(shared_server.settings, guest_keys=(GUEST_KEY,))) as server:
        yield server


async def test_the_form_buys_what_it_says_and_leads_to_the_order(server: Server) -> None:
    product_id = await server.create_product(stock=5, limitPerBuyer=3)
    browser = Browser(server)
    _, page, _ = await browser.get(f"/drop/{product_id}")

    status, _, headers = await browser.buy(f"/drop/{product_id}", {"key": key_in(page), "quantity": "2"})

    [order] = await orders_of(server, product_id)
    assert (status, headers["location"]) == (303, f"/orders/{order['id']}")
    assert (order["quantity"], order["status"]) == (2, "CONFIRMED")
    viewer = await server.data(VIEWER, token=browser.cookies["dropzero_guest"])
    assert viewer["viewer"]["subject"] == order["userRef"]


async def test_one_rendering_is_one_purchase_and_each_rendering_another(server: Server) -> None:
    product_id = await server.create_product(stock=5)
    browser, path = Browser(server), f"/drop/{product_id}"
    pages = [await browser.get(path) for _ in range(2)]
    first, second = [key_in(page) for _, page, _ in pages]
    assert first != second
    assert all("etag" not in headers and "private" in headers["cache-control"] for _, _, headers in pages)

    places = [(await browser.buy(path, {"key": key}))[2]["location"] for key in (first, first, second)]

    assert places[0] == places[1] != places[2]
    orders = await orders_of(server, product_id)
    assert len(orders) == 2
    assert len({order["userRef"] for order in orders}) == 1


async def test_a_new_guest_who_sends_the_form_twice_buys_once(server: Server) -> None:
    """A double click, or a form that is sent again because its answer was lost: neither request has a cookie."""
    path = f"/drop/{await server.create_product(stock=5)}"
    browsers = [Browser(server), Browser(server)]

    answers = await asyncio.gather(*(browser.buy(path, {"key": KEY}) for browser in browsers))

    [order] = await orders_of(server, path.removeprefix("/drop/"))
    assert {headers["location"] for _, _, headers in answers} == {f"/orders/{order['id']}"}
    for browser in browsers:
        assert (await browser.get(f"/orders/{order['id']}"))[0] == 200


async def test_a_hold_leads_to_its_order(server: Server) -> None:
    product_id = await server.create_product(stock=5, holdSeconds=300)
    _, _, headers = await Browser(server).buy(f"/drop/{product_id}", {"key": KEY})
    [order] = await orders_of(server, product_id)
    assert (order["status"], headers["location"]) == ("HELD", f"/orders/{order['id']}")


async def outcome_of(server: Server, product_id: str, browser: Browser | None = None, quantity: str = "1") -> str:
    """Buy, and return the outcome in the address to which the answer leads. The page there says it in words."""
    browser = browser or Browser(server)
    status, _, headers = await browser.buy(f"/drop/{product_id}?lang=fr", {"key": KEY, "quantity": quantity})
    place, _, outcome = headers["location"].partition("&outcome=")
    assert (status, place) == (303, f"/drop/{product_id}?lang=fr")
    outcome = outcome.removesuffix("#answer")
    _, page, _ = await browser.get(headers["location"].partition("#")[0])
    assert f'data-status="{outcome}"' in page
    assert '<p class="verdict"></p>' not in page
    return outcome


async def test_other_outcomes_lead_back_to_the_page_which_says_them(server: Server) -> None:
    gone, few = await server.create_product(stock=0), await server.create_product(stock=1)
    later = await server.create_product(opensAt="2999-01-01T00:00:00Z")
    over = await server.create_product(closesAt="2001-01-01T00:00:00Z", opensAt="2000-01-01T00:00:00Z")
    paused, limited = await server.create_product(), await server.create_product(limitPerBuyer=1)
    await server.data(PAUSE, {"id": paused}, token=ADMIN_TOKEN)

    assert await outcome_of(server, gone) == "SOLD_OUT"
    assert await outcome_of(server, few, quantity="2") == "TOO_FEW"
    assert await outcome_of(server, later) == "NOT_OPEN"
    assert await outcome_of(server, over) == "CLOSED"
    assert await outcome_of(server, paused) == "PAUSED"
    assert await outcome_of(server, limited, quantity="2") == "LIMIT_REACHED"
    assert await outcome_of(server, limited, quantity="0") == "REFUSED"
    assert await outcome_of(server, limited, quantity="many") == "REFUSED"


async def test_a_cancelled_purchase_is_not_bought_again_and_a_key_is_of_one_quantity(server: Server) -> None:
    product_id = await server.create_product()
    browser = Browser(server)
    await browser.buy(f"/drop/{product_id}", {"key": KEY})
    assert await outcome_of(server, product_id, browser, quantity="2") == "KEY_REUSED"
    [order] = await orders_of(server, product_id)
    await server.data(CANCEL, {"input": {"orderId": order["id"]}}, token=ADMIN_TOKEN)

    assert await outcome_of(server, product_id, browser) == "CANCELLED"
    assert len(await orders_of(server, product_id)) == 1


async def test_an_outcome_that_nobody_knows_is_not_shown(server: Server) -> None:
    product_id = await server.create_product()
    _, page, _ = await Browser(server).get(f"/drop/{product_id}?outcome=%3Cscript%3E")
    assert 'data-status=""' in page
    assert "%3Cscript" not in page


FOREIGN = [
    {"sec_fetch_site": "cross-site", "origin": "https://evil.example"},
    {"sec_fetch_site": "same-site"},
    {"sec_fetch_site": "none"},
    {"sec_fetch_site": "", "origin": "https://evil.example"},
    {"sec_fetch_site": "", "origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: " ".join(headers.values()))
async def test_a_page_of_another_site_cannot_buy(server: Server, headers: dict[str, str]) -> None:
    product_id = await server.create_product()
    browser = Browser(server)

    status, _, answered = await browser.buy(f"/drop/{product_id}", {"key": KEY}, **headers)

    assert (status, "set-cookie" in answered) == (403, False)
    assert await orders_of(server, product_id) == []


async def test_an_older_browser_is_known_by_the_origin_of_its_page(server: Server) -> None:
    product_id = await server.create_product()
    status, _, _ = await Browser(server).buy(f"/drop/{product_id}", {"key": KEY}, sec_fetch_site="", origin=server.url)
    assert status == 303


async def test_the_cookie_is_of_this_site_alone_and_secure_over_https(server: Server) -> None:
    product_id = await server.create_product()
    _, _, plain = await Browser(server).buy(f"/drop/{product_id}", {"key": KEY})
    secure = server.url.replace("http:", "https:")
    _, _, over_tls = await Browser(server).buy(f"/drop/{product_id}", {"key": KEY}, origin=secure)

    attributes = plain["set-cookie"].split("; ")[1:]
    assert attributes == ["Max-Age=15552000", "Path=/", "SameSite=Strict"]
    assert over_tls["set-cookie"].split("; ")[1:] == [*attributes, "Secure"]


async def test_graphql_does_not_read_the_cookie(server: Server) -> None:
    browser = Browser(server)
    await browser.buy(f"/drop/{await server.create_product()}", {"key": KEY})
    cookie = {"cookie": f"dropzero_guest={browser.cookies['dropzero_guest']}"}
    async with server.session.post(f"{server.url}/graphql", json={"query": VIEWER}, headers=cookie) as response:
        assert (await response.json())["data"]["viewer"]["subject"] is None


async def test_a_token_that_is_no_guests_becomes_a_new_guest(server: Server) -> None:
    product_id = await server.create_product()
    browser = Browser(server, {"dropzero_guest": ADMIN_TOKEN})
    status, _, _ = await browser.buy(f"/drop/{product_id}", {"key": KEY})
    assert status == 303
    assert browser.cookies["dropzero_guest"] != ADMIN_TOKEN


async def test_a_form_is_small_and_urlencoded(server: Server) -> None:
    product_id = await server.create_product()
    browser, path = Browser(server), f"/drop/{product_id}"
    assert MAX_FORM < MAX_BODY
    assert (await browser.buy(path, {"key": "a" * MAX_FORM}))[0] == 413
    assert (await browser.buy(path, {"key": KEY}, content_type="text/plain"))[0] == 415
    assert (await browser.buy(path, {str(number): "" for number in range(50)}))[0] == 400
    assert (await browser.buy("/drop/00000000-0000-4000-8000-000000000000", {"key": KEY}))[0] == 404
    assert await orders_of(server, product_id) == []


async def test_an_address_that_has_used_its_guests_is_told_to_wait(server: Server) -> None:
    path = f"/drop/{await server.create_product(stock=500)}"
    form = {"key": KEY, "quantity": "2"}
    async with serving(server.settings) as crowded:
        answers = await asyncio.gather(*(Browser(crowded).buy(path, form) for _ in range(2 * FREE_GUESTS)))
    assert {status for status, _, _ in answers} == {303, 429}
    _, page, headers = next(answer for answer in answers if answer[0] == 429)
    assert int(headers["retry-after"]) >= 1
    assert "Many people are buying from your network." in page
    assert (key_in(page), 'name="quantity" value="2"' in page) == (KEY, True)


async def test_a_database_that_does_not_answer_leaves_a_form_for_the_same_purchase(server: Server) -> None:
    product_id = await server.create_product()
    browser = Browser(server)
    away = replace(server.settings, budget=replace(server.settings.budget, seconds=0.0))
    async with serving(away) as late:
        status, page, _ = await Browser(late, browser.cookies).buy(f"/drop/{product_id}", {"key": KEY})
    assert (status, key_in(page)) == (503, KEY)

    assert (await browser.buy(f"/drop/{product_id}", {"key": key_in(page)}))[0] == 303
    assert len(await orders_of(server, product_id)) == 1


async def test_a_browser_that_leaves_takes_its_purchase_out_of_the_line_and_logs_nothing(
    settings: Settings, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(replace(settings, guest_keys=(GUEST_KEY,))) as server:
        product_id = await server.create_product(stock=5)
        async with stock_held(behind, product_id):
            first = asyncio.create_task(server.purchase(product_id))
            await until_blocked(behind)
            leaves = asyncio.create_task(Browser(server).buy(f"/drop/{product_id}", {"key": KEY}))
            await until_waiting(server, 2)
            leaves.cancel()
            await until_waiting(server, 1)
        await first
        assert len(await orders_of(server, product_id)) == 1
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_shop_without_guests_has_no_form(settings: Settings) -> None:
    async with serving(replace(settings, guest_keys=read_settings({}).guest_keys)) as server:
        path = f"/drop/{await server.create_product()}"
        status, page, _ = await Browser(server).get(path)
        assert (status, 'name="key"' in page) == (200, False)
        assert (await Browser(server).buy(path, {"key": KEY}))[0] == 405
