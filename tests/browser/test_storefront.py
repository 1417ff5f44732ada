"""The storefront in a browser: the live counter, the one click, and what a buyer is told."""

from typing import Any

import pytest
from playwright.async_api import Locator, Page, Route, WebSocketRoute, expect

from tests.browser.conftest import Visits
from tests.conftest import ADMIN_TOKEN, Server

ORDERS = "query ($id: ID) { orders(productId: $id) { edges { node { id userRef quantity } } } }"


def card(page: Page, name: str = "Tee") -> Locator:
    return page.locator("article").filter(has=page.get_by_role("heading", name=name, exact=True))


def counter(page: Page, name: str = "Tee") -> Locator:
    return card(page, name).locator(".stock strong")


async def buy(page: Page, name: str = "Tee") -> None:
    await card(page, name).get_by_role("button", name="Buy", exact=True).click()


async def orders(server: Server, product_id: str) -> list[dict[str, Any]]:
    found = await server.data(ORDERS, {"id": product_id}, token=ADMIN_TOKEN)
    return [edge["node"] for edge in found["orders"]["edges"]]


async def test_one_buys_and_the_counters_of_both_fall(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=3)
    ada, bob = (await visits.open("/")).page, (await visits.open("/", dark=True)).page
    for page in (ada, bob):
        await expect(page.locator("#connection")).to_have_text("Live")
        await expect(counter(page)).to_have_text("3")

    await buy(ada)

    for page in (ada, bob):
        await expect(counter(page)).to_have_text("2")
    [order] = await orders(server, product_id)
    await expect(card(ada).locator("output")).to_have_text(f"Confirmed: 1 bought. Your order is {order['id']}.")
    await expect(card(bob).locator("output")).to_have_text("")


async def test_each_click_buys_one_for_the_same_buyer_until_nothing_is_left(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=2)
    page = (await visits.open("/")).page

    await buy(page)
    await expect(counter(page)).to_have_text("1")
    await page.reload()
    await buy(page)

    await expect(counter(page)).to_have_text("0")
    await expect(card(page).get_by_role("button", name="Sold out")).to_be_disabled()
    bought = await orders(server, product_id)
    assert len(bought) == 2
    assert len({order["userRef"] for order in bought}) == 1


async def test_a_buyer_whose_answer_was_lost_asks_again_and_has_one_order(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.open("/")
    page = visit.page
    await expect(counter(page)).to_have_text("5")

    async def lose_the_answer(route: Route) -> None:
        await route.fetch()  # the server has decided
        await route.abort()

    await page.route("**/graphql", lose_the_answer, times=1)
    await buy(page)
    await expect(card(page).locator("output")).to_have_text(
        "The shop did not answer. Press Buy again to find out: you will not get two."
    )
    await page.reload()
    await buy(page)

    [order] = await orders(server, product_id)
    await expect(card(page).locator("output")).to_contain_text(order["id"])
    await expect(counter(page)).to_have_text("4")
    assert ["ERR_FAILED" in problem for problem in visit.problems] == [True]
    visit.problems.clear()


@pytest.mark.parametrize(
    ("product", "message"),
    [
        ({"limitPerBuyer": 1}, "One buyer can hold 1; you hold 1."),
        ({"opensAt": "2999-01-01T00:00:00Z"}, "Opens at 2999-01-01T00:00:00+00:00."),
    ],
)
async def test_a_purchase_that_is_turned_down_says_why(
    server: Server, visits: Visits, product: dict[str, Any], message: str
) -> None:
    await server.create_product(**product)
    page = (await visits.open("/")).page

    answer = card(page).locator("output")
    await buy(page)
    if "limitPerBuyer" in product:
        await expect(answer).to_contain_text("Confirmed")
        await buy(page)

    await expect(answer).to_have_text(message)


async def test_a_lost_connection_comes_back_by_itself(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.open("/none")
    page = visit.page
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    await page.route_web_socket("**/graphql", connect)
    visit.problems.clear()  # of the page that was not found
    await page.goto(f"{server.url}/")
    await expect(page.locator("#connection")).to_have_text("Live")

    await sockets[0].close(code=1012)
    await expect(page.locator("#connection")).to_have_text("Reconnecting")
    await expect(card(page)).to_contain_text("left when last heard of")
    await server.purchase(product_id)

    await expect(page.locator("#connection")).to_have_text("Live")
    await expect(counter(page)).to_have_text("4")
    assert len(sockets) == 2


async def test_without_a_drop_the_page_says_so_and_shows_the_first_one(server: Server, visits: Visits) -> None:
    page = (await visits.open("/")).page
    await expect(page.get_by_text("No drop yet.")).to_be_visible()

    await server.create_product(stock=7)

    await expect(counter(page)).to_have_text("7")
    await expect(page.get_by_text("No drop yet.")).to_be_hidden()


async def test_names_are_shown_as_they_are_and_never_run(server: Server, visits: Visits) -> None:
    name = "<img src=x onerror=alert(1)></h2><script>alert(2)</script>"
    await server.create_product(name=name, dropName="<b>&amp;")
    page = (await visits.open("/")).page

    await expect(card(page, name)).to_be_visible()
    await expect(card(page, name).locator(".drop")).to_have_text("<b>&amp;")
