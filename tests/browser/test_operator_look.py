"""What buyers see of a product, from the operator's page: pictures, price, variants and descriptions."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, expect

from tests.browser.drop_page import english
from tests.browser.operator_page import OperatorPage
from tests.browser.test_appearance import violations
from tests.browser.visits import Tabs, Visit, packaged, visiting
from tests.images.pictures import JPEG, PNG, WEBP
from tests.server import ADMIN_TOKEN, Server, serving

pytestmark = pytest.mark.browser

PRODUCT = """
query ($id: ID!) {
  product(id: $id) {
    name family option price { amount currency } images { url alt width height } descriptions { language text }
  }
}
"""
UPDATE = "mutation ($input: UpdateProductInput!) { updateProduct(input: $input) { revision } }"
OTHER_SERVER = "https://shop.example/back.webp"


@pytest.fixture
async def visit(server: Server, tabs: Tabs, tmp_path: Path) -> AsyncIterator[Visit]:
    """A visit to a server that keeps images in a folder of the test. Another server has one picture."""
    async with (
        serving(replace(server.settings, image_folder=tmp_path / "images")) as keeping,
        visiting(tabs, keeping) as visits,
    ):
        visit = await visits.blank()

        async def answer(route: Route) -> None:
            found = route.request.url == OTHER_SERVER
            await route.fulfill(status=200 if found else 404, body=WEBP if found else b"", content_type="image/webp")

        await visit.page.route("https://shop.example/*", answer)
        yield visit


async def product_of(server: Server, product_id: str) -> dict[str, Any]:
    product: dict[str, Any] = (await server.data(PRODUCT, {"id": product_id}))["product"]
    return product


async def open_product(visit: Visit, product_id: str) -> OperatorPage:
    await visit.goto(f"/operator?product={product_id}")
    page = OperatorPage(visit.page)
    if await page.sign_in_form.is_visible():
        await page.sign_in(ADMIN_TOKEN)
    await page.expect_live()
    return page


async def choose(page: OperatorPage, name: str, media_type: str, content: bytes) -> None:
    """Choose a file in the form of pictures."""
    chosen: Any = {"name": name, "mimeType": media_type, "buffer": content}
    await page.page.locator("#picture-file").set_input_files(chosen)


async def add_pictures(page: OperatorPage) -> None:
    """Upload two pictures, and name those of another server. Then the form has the back, and after it the front."""
    pictures, added = page.page.locator("#pictures li"), english("operator_picture_added")
    await choose(page, "front.png", "image/png", PNG)
    await expect(page.result("pictures")).to_have_text(added)
    await expect(pictures.last.locator("input")).to_be_focused()
    await page.page.keyboard.type("The front")
    await page.page.locator("#picture-url").fill("https://shop.example/gone.webp")
    await page.page.locator("#add-picture").click()
    await expect(page.result("pictures")).to_have_text(english("operator_no_picture"))
    await page.page.locator("#picture-url").fill(OTHER_SERVER)
    await page.page.locator("#add-picture").click()
    await expect(page.result("pictures")).to_have_text(added)
    await page.page.keyboard.type("The back")
    await choose(page, "photo.jpg", "image/jpeg", JPEG)
    await expect(pictures).to_have_count(3)
    await pictures.last.get_by_text(english("operator_remove")).click()
    await pictures.last.get_by_text(english("operator_move_up")).click()
    await expect(pictures.first.get_by_text(english("operator_move_up"))).to_be_focused()


async def test_a_product_gets_its_look_from_the_page_alone(server: Server, visit: Visit, packages: Path) -> None:
    await visit.goto("/operator")
    page = OperatorPage(visit.page)
    await page.sign_in(ADMIN_TOKEN)
    await page.fill("create", name="Aurora Tee", dropName="First Light", stock="20", price="48.00 eur")
    await page.fill("create", family="Aurora Tee", option="M")
    await page.submit("create")
    await page.products.locator("a").click()
    await page.expect_live()
    product_id = page.page.url.partition("product=")[2]

    await add_pictures(page)
    await page.submit("pictures")
    await expect(page.result("pictures")).to_have_text(english("operator_saved"))

    await page.fill("descriptions", ja="厚手です。", fr="Épais.")
    await page.submit("descriptions")
    await expect(page.result("descriptions")).to_have_text(english("operator_saved"))
    await page.fill("details", price="52 CHF")
    await page.submit("details")
    await expect(page.result("details")).to_have_text(english("operator_saved"))
    await expect(page.log.first).to_contain_text("48.00 EUR")
    await expect(page.log.nth(2)).to_contain_text("The back")

    product = await product_of(server, product_id)
    assert [(image["alt"], image["width"], image["height"]) for image in product["images"]] == [
        ("The back", 3, 2),
        ("The front", 3, 2),
    ]
    assert (product["price"], product["option"]) == ({"amount": "52", "currency": "CHF"}, "M")
    assert {each["language"] for each in product["descriptions"]} == {"ja", "fr"}
    await visit.page.reload()
    pictures = page.page.locator("#pictures li")
    await expect(pictures).to_have_count(2)
    await page.expect_live()
    await expect(pictures.last.locator("img")).to_have_js_property("naturalWidth", 3)
    assert await violations(visit.page, packaged(packages / "axe-core-4.14.1.tgz", "axe.min.js").decode()) == []
    for path in ("/", f"/drop/{product_id}"):
        await visit.goto(path)
        shown = visit.page.locator(f'main img[src="{OTHER_SERVER}"]').first
        await expect(shown).to_have_attribute("alt", "The back")
        await expect(shown).to_have_js_property("naturalWidth", 3)
    visit.problems.clear()  # the picture that is not there
    visit.foreign.clear()  # the pictures of the other server


async def test_what_is_no_picture_is_refused_and_nothing_is_added(server: Server, visit: Visit) -> None:
    page = await open_product(visit, await server.create_product())
    await choose(page, "drawing.svg", "image/svg+xml", b"<svg onload='alert(1)'/>")
    await expect(page.result("pictures")).to_contain_text("an SVG file can have scripts")
    await expect(page.result("pictures")).to_contain_class("failed")
    await expect(page.page.locator("#pictures li")).to_have_count(0)
    visit.problems.clear()  # the answer 415


async def test_edits_of_the_look_stay_when_another_operator_is_first(server: Server, visit: Visit) -> None:
    product_id = await server.create_product(descriptions=[{"language": "nl", "text": "Zwart."}])
    page = await open_product(visit, product_id)
    await page.fill("descriptions", ja="黒")
    await choose(page, "front.png", "image/png", PNG)
    await page.page.locator("#pictures li input").fill("The front")
    other = {"productId": product_id, "revision": 0, "name": "Hoodie"}
    await server.data(UPDATE, {"input": other}, token=ADMIN_TOKEN)
    await expect(page.heading).to_have_text("Hoodie")
    for form in ("descriptions", "pictures"):
        await page.submit(form)
        await expect(page.result(form)).to_have_text(english("operator_saved"))

    product = await product_of(server, product_id)
    assert product["name"] == "Hoodie"
    assert product["descriptions"] == [{"language": "nl", "text": "Zwart."}, {"language": "ja", "text": "黒"}]
    assert [image["alt"] for image in product["images"]] == ["The front"]
