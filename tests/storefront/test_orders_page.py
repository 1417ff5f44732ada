"""The buyer's orders and their receipts as the server renders them, and the forms that give an order back."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.identity.guests import LIFETIME, GuestTokens
from api.settings import read_settings
from api.shop.shop import Seller, Shop
from api.storefront.cancel_form import MAX_FORM
from api.storefront.orders_page import FIRST
from api.storefront.pages import read_messages
from tests.faults import FaultyEndpoint
from tests.patience import until
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server, serving
from tests.storefront.shop import Browser, orders_of

COOKIE = "dropzero_guest"
UNKNOWN = "/orders/00000000-0000-4000-8000-000000000000"
SELLER = Seller("Aurora Goods", "Here 1\nBerlin", "hello@shop.example")
CENTS = {"amount": "0.10", "currency": "USD"}

GUEST = "mutation { guest { token } }"
BUY = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) { ... on PurchaseConfirmed { order { id } } ... on PurchaseHeld { order { id } } }
}
"""
CANCEL = "mutation ($id: ID!) { cancelOrder(input: { orderId: $id }) { status } }"
CONFIRM = 'mutation ($id: ID!) { confirmOrder(orderId: $id, paymentRef: "of the shop") { __typename } }'
STOCK = "query ($id: ID!) { product(id: $id) { stock } }"


@pytest.fixture(scope="module")
async def server(shared_server: Server) -> AsyncIterator[Server]:
    """A server with guests and a seller, on the module's database."""
    own = replace(shared_server.settings, guest_keys=(GUEST_KEY,), shop=Shop(seller=SELLER), demo=True)
    async with serving(own) as server:
        yield server


async def guest(server: Server) -> Browser:
    """A browser that is a guest of the shop."""
    return Browser(server, {COOKIE: (await server.data(GUEST))["guest"]["token"]})


async def buy(browser: Browser, product_id: str, quantity: int = 1) -> str:
    """Buy, and return the id of the order."""
    wanted = {"productId": product_id, "quantity": quantity}
    bought = await browser.server.data(BUY, {"input": wanted}, token=browser.cookies[COOKIE])
    order_id: str = bought["purchase"]["order"]["id"]
    return order_id


def english(key: str) -> str:
    text: str = read_messages("en")[key]
    return text


def text_of(page: str) -> str:
    """What a reader sees of a page's content, without its tags."""
    shown = re.sub(r"(?s)<(script|template)\b.*?</\1>", "", page.partition("<main")[2].partition("</main>")[0])
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", shown))


def references(page: str) -> list[str]:
    return re.findall(r'<bdi class="code"[^>]*>([^<]+)<', page)


async def stock_of(server: Server, product_id: str) -> int:
    stock: int = (await server.data(STOCK, {"id": product_id}))["product"]["stock"]
    return stock


async def test_the_list_has_every_order_with_its_state_and_its_exact_total(server: Server) -> None:
    browser = await guest(server)
    tee = await server.create_product(name="Tee <b>", family="Tees", option="M", price=CENTS)
    held, free = await server.create_product(name="Tote", holdSeconds=300), await server.create_product(name="Poster")
    cancelled = await buy(browser, free)
    await server.data(CANCEL, {"id": cancelled}, token=browser.cookies[COOKIE])
    ids = [await buy(browser, held), await buy(browser, tee, 3), cancelled]

    status, page, headers = await browser.get("/orders")

    assert status == 200
    assert re.findall(r'data-status="(\w+)" data-id="([^"]+)"', page) == [
        ("CONFIRMED", ids[1]),
        ("HELD", ids[0]),
        ("CANCELLED", ids[2]),
    ]
    text = text_of(page)
    for shown in ("Tee &lt;b&gt;", "M", "3 × $0.10", "$0.30", "Tote", "Poster", "Confirmed", "On hold", "Cancelled"):
        assert shown in text, shown
    assert "Pay by" in text
    assert re.search(r"\w+day, \w+ \d+ at [\d:]+ [AP]M UTC", text)
    assert len(set(references(page))) == 3
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}|home|peer", text), "no UUID and no Region"
    assert f'href="/demo/pay/{ids[0]}"' in page
    assert (headers["cache-control"], headers["x-robots-tag"]) == ("no-store", "noindex")


async def test_the_list_has_pages_and_they_have_every_order_once(server: Server) -> None:
    browser, product_id = await guest(server), await server.create_product(stock=100)
    bought = [await buy(browser, product_id) for _ in range(FIRST + 2)]
    found, path = [], "/orders?lang=ja"
    while path:
        status, page, _ = await browser.get(path)
        assert (status, '<html lang="ja"' in page) == (200, True)
        found.append(re.findall(r'data-id="([^"]+)"', page))
        more = re.search(r'id="more" href="([^"]+)"', page)
        path = more[1].replace("&amp;", "&") if more else ""
    assert [len(ids) for ids in found] == [FIRST, 2]
    assert [order for ids in found for order in ids] == bought[::-1]
    assert (await browser.get("/orders?after=here"))[0] == 404


async def test_a_browser_without_orders_is_told_why_and_where_they_are_kept(server: Server) -> None:
    for browser, key in ((Browser(server), "no_orders"), (await guest(server), "orders_empty")):
        status, page, _ = await browser.get("/orders")
        assert (status, english(key) in text_of(page)) == (200, True), key
        assert "for 180 days after the first purchase" in page
        assert references(page) == []


def expired() -> str:
    return GuestTokens([GUEST_KEY]).issue(datetime.now(UTC).timestamp() - LIFETIME - 1).token


@pytest.mark.parametrize("token", [expired(), ADMIN_TOKEN], ids=["expired", "of an operator"])
async def test_a_token_that_is_no_guests_shows_nothing_and_says_so(server: Server, token: str) -> None:
    order_id = await buy(await guest(server), await server.create_product())
    browser = Browser(server, {COOKIE: token})
    for path, expected in (("/orders", 200), (f"/orders/{order_id}", 404)):
        status, page, _ = await browser.get(path)
        assert (status, english("orders_refused") in text_of(page), references(page)) == (expected, True, [])


async def test_an_order_of_another_buyer_is_as_unknown_as_one_that_does_not_exist(server: Server) -> None:
    order_id = await buy(await guest(server), await server.create_product(name="Secret Tee"))
    for browser in (await guest(server), Browser(server)):
        others, unknown = [await browser.get(path) for path in (f"/orders/{order_id}", UNKNOWN)]
        assert others[:2] == (404, unknown[1])
        assert english("payment_missing") in text_of(others[1])
        assert {others[2][name] for name in ("cache-control", "x-robots-tag")} == {"no-store", "noindex"}


async def test_a_receipt_says_who_sold_what_for_how_much_and_what_has_become_of_it(server: Server) -> None:
    browser = await guest(server)
    product_id = await server.create_product(name="Aurora Tee", price={"amount": "1248.50", "currency": "EUR"})
    order_id = await buy(browser, product_id, 2)

    status, page, _ = await browser.get(f"/orders/{order_id}")

    assert status == 200
    [reference] = references(page)
    assert f"<title>Order {reference} · DROPZERO</title>" in page
    text = text_of(page)
    for shown in ("It’s yours.", "Confirmed", "Aurora Tee", "Quantity 2", "€1,248.50", "€2,497.00", "Aurora Goods"):
        assert shown in text, shown
    await server.data(CANCEL, {"id": order_id}, token=browser.cookies[COOKIE])
    _, page, _ = await browser.get(f"/orders/{order_id}")
    assert "It’s yours." not in text_of(page)
    assert english("answer_cancelled") in text_of(page)
    assert '<details class="cancel" hidden>' in page


async def test_a_hold_can_be_paid_until_its_time_is_up(server: Server, shared_database_url: str) -> None:
    browser = await guest(server)
    order_id = await buy(browser, await server.create_product(holdSeconds=300))
    _, page, _ = await browser.get(f"/orders/{order_id}")
    assert english("answer_held") in text_of(page)
    assert re.search(rf'<a class="primary pay" href="/demo/pay/{order_id}">', page)
    assert f'action="/orders/{order_id}/release"' in page

    connection = await asyncpg.connect(shared_database_url)
    await connection.execute("UPDATE orders SET held_until = now() - interval '1 s' WHERE id = $1", order_id)
    await connection.close()

    async def has_lapsed() -> bool:
        page = (await browser.get(f"/orders/{order_id}"))[1]
        assert "Pay by" not in text_of(page)
        assert '<details class="cancel" hidden>' in page
        return english("answer_lapsed") in text_of(page)

    await until(has_lapsed)


async def test_a_confirmed_order_is_cancelled_by_its_form_once(server: Server) -> None:
    browser, product_id = await guest(server), await server.create_product(stock=5)
    order_id = await buy(browser, product_id, 2)
    _, page, _ = await browser.get(f"/orders/{order_id}?lang=fr")
    [action] = re.findall(r'action="([^"]+)"', page)

    answers = [await browser.buy(action, {}) for _ in range(2)]

    assert [(status, headers["location"]) for status, _, headers in answers] == [
        (303, f"/orders/{order_id}?lang=fr")
    ] * 2
    assert await stock_of(server, product_id) == 5
    assert [order["status"] for order in await orders_of(server, product_id)] == ["CANCELLED"]


async def test_a_hold_is_let_go_by_its_form_but_not_if_it_has_been_paid(server: Server) -> None:
    browser, product_id = await guest(server), await server.create_product(stock=5, holdSeconds=300)
    paid, held = await buy(browser, product_id), await buy(browser, product_id)
    await server.data(CONFIRM, {"id": paid}, token=ADMIN_TOKEN)

    for order_id in (paid, held):
        assert (await browser.buy(f"/orders/{order_id}/release", {}))[0] == 303

    states = {order["id"]: order["status"] for order in await orders_of(server, product_id)}
    assert states == {paid: "CONFIRMED", held: "CANCELLED"}


FOREIGN: list[dict[str, str]] = [
    {"sec_fetch_site": "cross-site"},
    {"sec_fetch_site": "", "origin": "https://evil.example"},
    {"sec_fetch_site": "", "origin": "null"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda headers: " ".join(headers.values()))
async def test_a_page_of_another_site_cannot_cancel(server: Server, headers: dict[str, str]) -> None:
    browser, product_id = await guest(server), await server.create_product()
    order_id = await buy(browser, product_id)
    for form in ("cancel", "release"):
        assert (await browser.buy(f"/orders/{order_id}/{form}", {}, **headers))[0] == 403
    assert [order["status"] for order in await orders_of(server, product_id)] == ["CONFIRMED"]


async def test_nobody_cancels_the_order_of_another(server: Server) -> None:
    product_id = await server.create_product()
    order_id = await buy(await guest(server), product_id)
    for browser in (await guest(server), Browser(server), Browser(server, {COOKIE: ADMIN_TOKEN})):
        status, _, headers = await browser.buy(f"/orders/{order_id}/cancel", {})
        assert (status, headers["location"]) == (303, f"/orders/{order_id}")
        assert (await browser.get(headers["location"]))[0] == 404
    assert [order["status"] for order in await orders_of(server, product_id)] == ["CONFIRMED"]


async def test_a_form_is_small(server: Server) -> None:
    assert (await (await guest(server)).buy(f"{UNKNOWN}/cancel", {"a": "a" * MAX_FORM}))[0] == 413


async def test_a_cancellation_without_an_answer_is_said_until_the_order_is_cancelled(server: Server) -> None:
    browser = await guest(server)
    order_id = await buy(browser, await server.create_product())
    async with serving(replace(server.settings, budget=replace(server.settings.budget, seconds=0.0))) as late:
        _, _, headers = await Browser(late, browser.cookies).buy(f"/orders/{order_id}/cancel", {})
    assert headers["location"] == f"/orders/{order_id}?outcome=UNANSWERED"

    assert english("cancel_unanswered") in text_of((await browser.get(headers["location"]))[1])
    await browser.buy(f"/orders/{order_id}/cancel", {})
    assert english("cancel_unanswered") not in text_of((await browser.get(headers["location"]))[1])


async def test_without_the_database_the_frame_says_that_nobody_knows(server: Server, shared_database_url: str) -> None:
    browser = await guest(server)
    async with FaultyEndpoint(shared_database_url).listening() as faulty:
        endpoints = (Endpoint("home", faulty.url),)
        async with serving(replace(server.settings, endpoints=endpoints)) as cut_off:
            faulty.down()
            for path in ("/orders", UNKNOWN):
                status, page, headers = await Browser(cut_off, browser.cookies).get(path)
                assert (status, headers["retry-after"]) == (503, "1")
                assert english("unreachable") in text_of(page)
            assert (await Browser(cut_off).get("/orders"))[0] == 200, "who has no guest has no orders"


async def test_a_shop_without_guests_says_where_its_buyers_find_their_orders(shared_server: Server) -> None:
    async with serving(replace(shared_server.settings, guest_keys=read_settings({}).guest_keys)) as server:
        browser = Browser(server)
        for path, expected in (("/orders", 200), (UNKNOWN, 404)):
            status, page, _ = await browser.get(path)
            assert (status, english("orders_sign_in") in text_of(page)) == (expected, True)
        assert (await browser.buy(f"{UNKNOWN}/cancel", {}))[0] in (404, 405)
