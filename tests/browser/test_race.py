"""The race through two Regions on the page about the architecture."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from api.drops.race_product import RACE
from api.settings import Settings
from api.storefront.pages import FOLDER
from tests.browser.drop_page import english, orders_of
from tests.browser.visits import PATIENCE, Tabs, Visits, visiting
from tests.server import Server, serving

pytestmark = pytest.mark.browser

STOCK = "query ($id: ID!) { product(id: $id) { stock } }"

Lie = Callable[[dict[str, Any]], None]
"""Alters the data of an answer to the page."""


async def stock_of(server: Server, product_id: str) -> int:
    stock: int = (await server.data(STOCK, {"id": product_id}))["product"]["stock"]
    return stock


async def race_for(page: Page, product_id: str) -> None:
    """Have the page race for this product."""
    await page.route("**/race", lambda route: route.fulfill(json={"productId": product_id}))


async def start(page: Page, kind: str) -> None:
    await page.get_by_label(english(kind)).check()
    await page.get_by_role("button", name=english("race_start")).click()


async def rows(page: Page) -> list[list[str]]:
    found: list[list[str]] = await page.locator(".results tbody tr").evaluate_all(
        "(rows) => rows.map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    return found


def sums(page: Page) -> list[str]:
    return [english(key) for key in ("sum_before", "sum_sold", "sum_after", "sum_verdict")]


async def sum_of(page: Page) -> dict[str, str]:
    """Return the sum of the race, once it is over."""
    await expect(page.locator("#sum dd").last).not_to_have_text("–")
    return dict(zip(sums(page), await page.locator("#sum dd").all_inner_texts(), strict=True))


async def set_time(page: Page, script: str, name: str, milliseconds: float) -> None:
    """Serve the script with another value of one of its times."""
    source = (FOLDER / "static" / script).read_text(encoding="utf-8")
    altered, changed = re.subn(rf"\b{name} = [\d_]+;", f"{name} = {milliseconds};", source)
    assert changed == 1
    await page.route(f"**/static/{script}", lambda route: route.fulfill(body=altered, content_type="text/javascript"))


async def alter_answers(page: Page, lie: Lie) -> None:
    async def answer(route: Route) -> None:
        response = await route.fetch()
        answered = await response.json()
        lie(answered["data"])
        await route.fulfill(response=response, json=answered)

    await page.route("**/graphql", answer)


async def test_two_buyers_get_an_order_each_and_the_sum_is_right(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=100)
    visit = await visits.blank()
    page = visit.page
    # By itself the page continues after a second without a change of the live stock.
    await set_time(page, "race.js", "VERSION_DEADLINE", PATIENCE)
    await race_for(page, product_id)
    await visit.goto("/architecture")

    await start(page, "race_two_buyers")

    assert await sum_of(page) == {
        english("sum_before"): "100",
        english("sum_sold"): "20",
        english("sum_after"): "80 · 80",
        english("sum_verdict"): english("sum_exact"),
    }
    shown = await rows(page)
    sales = [int(found) for row in shown for found in re.findall(r"Sale (\d+)", " ".join(row))]
    assert sorted(sales) == list(range(1, 21))
    versions = [int(row[-1]) for row in shown]
    assert versions == sorted(set(versions))
    highlighted = await page.locator(".results .first").all_inner_texts()
    assert re.findall(r"Sale (\d+)", " ".join(highlighted)) == [str(number) for number in range(1, 20, 2)]
    assert await stock_of(server, product_id) == 80


async def test_one_purchase_through_both_regions_is_one_order(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=100, limitPerBuyer=1)
    page = (await visits.open("/architecture")).page
    await race_for(page, product_id)

    await start(page, "race_one_purchase")

    result = await sum_of(page)
    assert (result[english("sum_sold")], result[english("sum_verdict")]) == ("10", english("sum_exact"))
    for row in await rows(page):
        orders = re.findall(r"([2-9A-Z]{4}-[2-9A-Z]{4}) (new|same) order", " ".join(row))
        assert len({number for number, _ in orders}) == 1
        assert sorted(kind for _, kind in orders) == ["new", "same"]
    assert len(await orders_of(server, product_id)) == 10


async def test_the_last_unit_has_one_winner(server: Server, visits: Visits) -> None:
    page = (await visits.open("/architecture")).page
    await race_for(page, await server.create_product(stock=1))

    await start(page, "race_two_buyers")

    result = await sum_of(page)
    assert (result[english("sum_sold")], result[english("sum_after")]) == ("1", "0 · 0")
    first = (await rows(page))[0][1:3]
    assert sorted(re.sub(r"\s.*", "", cell, flags=re.S) for cell in first) == ["Sale", "Sold"]


def the_same_stock_is_left(data: dict[str, Any]) -> None:
    if "purchase" in data:
        data["purchase"]["remaining"] = 42


def answers_are_replayed(data: dict[str, Any]) -> None:
    if "purchase" in data:
        data["purchase"]["replayed"] = True


def two_buyers_get_one_order(data: dict[str, Any]) -> None:
    if "purchase" in data:
        data["purchase"]["order"]["id"] = "00000000-0000-0000-0000-000000000000"


def more_is_sold_than_there_was(data: dict[str, Any]) -> None:
    if "one" in data:
        data["one"]["stock"] -= 95
        data["two"]["stock"] -= 95


def the_regions_read_different_stocks(data: dict[str, Any]) -> None:
    if "one" in data:
        data["two"]["stock"] += 1


def units_are_left_after_sold_out(data: dict[str, Any]) -> None:
    if "purchase" in data:
        data["purchase"] = {"status": "SOLD_OUT", "region": "", "remaining": 0}


def units_go_to_others(data: dict[str, Any]) -> None:
    if "purchase" in data:
        data["purchase"] = {"status": "NOT_OPEN", "region": "", "opensAt": "2999-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("lie", "sold", "verdict", "first_round"),
    [
        (the_same_stock_is_left, "20", "Yes, to the unit", ["Sale 1", "Sale 2"]),
        (answers_are_replayed, "20", "Yes, to the unit", ["Sale 1", "Sale 2"]),
        (two_buyers_get_one_order, "1", "No. Please report this.", ["Sale 1", "Sale 1"]),
        (more_is_sold_than_there_was, "20", english("sum_doubtful"), ["Sale 1", "Sale 2"]),
        (the_regions_read_different_stocks, "20", english("sum_doubtful"), ["Sale 1", "Sale 2"]),
        (units_are_left_after_sold_out, "0", english("sum_doubtful"), ["Sold out"] * 2),
        (units_go_to_others, "0", "Yes, counting 2 units moved by others", ["Not open yet"] * 2),
    ],
)
async def test_the_sum_compares_orders_and_stocks(
    server: Server, visits: Visits, lie: Lie, sold: str, verdict: str, first_round: list[str]
) -> None:
    page = (await visits.open("/architecture")).page
    await alter_answers(page, lie)

    await start(page, "race_two_buyers")

    result = await sum_of(page)
    assert (result[english("sum_sold")], result[english("sum_verdict")]) == (sold, verdict)
    shown = [re.sub(r" [\d,]+ ms$", "", cell) for cell in (await rows(page))[0][1:3]]
    assert sorted(shown) == first_round


def every_answer_has_a_new_order(data: dict[str, Any]) -> None:
    if "purchase" in data:
        data["purchase"]["replayed"] = False


async def test_an_order_that_is_answered_twice_as_new_is_reported(server: Server, visits: Visits) -> None:
    page = (await visits.open("/architecture")).page
    await alter_answers(page, every_answer_has_a_new_order)

    await start(page, "race_one_purchase")

    assert (await sum_of(page))[english("sum_verdict")] == english("sum_wrong")


async def test_a_purchase_without_an_answer_ends_the_race(server: Server, visits: Visits) -> None:
    visit = await visits.blank()
    page = visit.page
    await set_time(page, "purchase.js", "BUDGET", 0)
    await visit.goto("/architecture")

    async def lose_the_answer(route: Route) -> None:
        if "mutation Buy" in (route.request.post_data or ""):
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await page.route("**/graphql", lose_the_answer)
    await start(page, "race_two_buyers")

    await expect(page.get_by_text(english("race_broken_off"))).to_be_visible()
    shown = await rows(page)
    assert all(cell.startswith(english("answer_unanswered")) for cell in shown[0][1:3])
    assert shown[1][1:3] == ["–", "–"]
    visit.problems.clear()  # the errors of the aborted requests


async def test_the_shop_loses_no_unit_to_a_race_and_does_not_show_its_product(server: Server, visits: Visits) -> None:
    drop = await server.create_product(stock=100)
    page = (await visits.open("/architecture")).page

    for sold_before in (0, 70):
        if sold_before:
            await server.purchase(str(RACE.id), quantity=sold_before)
        await start(page, "race_two_buyers")
        await expect(page.locator("#sum dd").last).to_have_text(english("sum_exact"))
        await expect(page.locator("#race button[aria-disabled=false]")).to_be_visible()

    assert await stock_of(server, drop) == 100
    assert await stock_of(server, str(RACE.id)) == 80, "the server has stocked up"
    await page.goto(server.url)
    await expect(page.locator(".card")).to_have_count(1)
    await page.goto(f"{server.url}/drop/{drop}")
    await expect(page.locator("#units")).to_have_text("100")


async def test_a_page_of_another_site_cannot_start_a_race(server: Server) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    async with server.session.post(f"{server.url}/race", headers=headers) as response:
        assert response.status == 403
    async with server.session.post(f"{server.url}/race") as response:
        assert await response.json() == {"productId": str(RACE.id)}
    assert await stock_of(server, str(RACE.id)) == 100


async def test_a_server_with_one_region_has_no_race(settings: Settings, tabs: Tabs) -> None:
    async with (
        serving(replace(settings, endpoints=settings.endpoints[:1])) as server,
        visiting(tabs, server) as visits,
    ):
        page = (await visits.open("/architecture")).page
        await expect(page.get_by_text(english("race_one_region"))).to_be_visible()
        button = page.get_by_role("button", name=english("race_start"))
        await expect(button).to_have_attribute("aria-disabled", "true")
