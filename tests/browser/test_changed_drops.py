"""What buyers see when an operator changes a drop: on an open page, without loading it again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import expect

from api.database.pool import Pool
from api.storefront.pages import read_messages
from tests.browser.drop_page import DropPage, english, open_drop
from tests.browser.visits import Visits
from tests.server import ADMIN_TOKEN, Server

pytestmark = pytest.mark.browser

UPDATE = "mutation ($input: UpdateProductInput!) { updateProduct(input: $input) { revision } }"


async def step(server: Server, product_id: str, field: str) -> None:
    mutation = f"mutation ($id: ID!) {{ {field}(productId: $id) {{ revision }} }}"
    await server.data(mutation, {"id": product_id}, token=ADMIN_TOKEN)


async def update(server: Server, product_id: str, revision: int, **values: Any) -> None:
    variables = {"input": {"productId": product_id, "revision": revision, **values}}
    await server.data(UPDATE, variables, token=ADMIN_TOKEN)


async def test_an_open_page_shows_what_the_operator_does(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await page.expect_live("5")

    await step(server, product_id, "pauseProduct")
    await page.expect_button("paused", enabled=False)
    await expect(page.announced.last).to_have_text(english("paused"))

    await step(server, product_id, "resumeProduct")
    await page.expect_button("buy", enabled=True)

    later = datetime.now(UTC) + timedelta(hours=1)
    await update(server, product_id, 2, name="Hoodie", description="Black.\nBy hand.", opensAt=later.isoformat())
    await page.expect_button("not_open_yet", enabled=False)
    await expect(page.page.locator("#name")).to_have_text("Hoodie")
    await expect(page.page.locator("#description p")).to_have_text(["Black.", "By hand."])

    await update(server, product_id, 3, opensAt=None, closesAt=datetime.now(UTC).isoformat())
    await page.expect_button("closed", enabled=False)
    await page.page.reload()
    await page.expect_button("closed", enabled=False)


async def test_the_list_shows_the_pause_and_the_end(server: Server, visits: Visits) -> None:
    paused, closed = (
        await server.create_product(stock=5, name="Paused"),
        await server.create_product(stock=5, name="Closed"),
    )
    page = (await visits.open("/")).page
    state = page.locator(".card .state")
    await expect(state).to_have_text([english("open_now"), english("open_now")])

    await step(server, paused, "pauseProduct")
    await update(server, closed, 0, closesAt=datetime.now(UTC).isoformat())
    await expect(state.filter(has_text=english("paused"))).to_have_count(1)
    await expect(state.filter(has_text=english("closed"))).to_have_count(1)


async def test_a_purchase_of_a_drop_that_is_gone_is_refused_in_the_readers_language(
    server: Server, visits: Visits, behind: Pool
) -> None:
    product_id = await server.create_product(stock=5)
    page = DropPage((await visits.open(f"/drop/{product_id}?lang=ja")).page)
    texts = read_messages("ja")
    await expect(page.connection).to_have_text(texts["live"])
    for table, column in (("products", "id"), ("stock_shards", "product_id")):
        await behind.execute(f"DELETE FROM {table} WHERE {column} = $1", product_id)

    await page.buy()

    await expect(page.verdict).to_have_text(texts["answer_refused"])
    await expect(page.detail).to_have_text(texts["answer_refused_not_found"])
