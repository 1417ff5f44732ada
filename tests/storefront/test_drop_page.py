"""The page of a product as the server renders it: complete without script, for readers and for other programs."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from api.drops.details import Price
from api.storefront.calendar import LONGEST_LINE, calendar_of
from api.storefront.content import KEY_MARK, KeyedContent
from api.storefront.languages import LANGUAGES
from tests.product_rows import new_product_row
from tests.server import GUEST_KEY, Server, serving
from tests.storefront.shop import Browser

PRICE = {"amount": "48.00", "currency": "EUR"}
IMAGE = {"url": "/images/tee.webp", "alt": 'A "tee"', "width": 800, "height": 1000}


@pytest.fixture(scope="module")
async def server(shared_server: Server) -> AsyncIterator[Server]:
    """A server with guests, on the module's database."""
    async with serving(replace(shared_server.settings, guest_keys=(GUEST_KEY,))) as server:
        yield server


async def page_of(server: Server, path: str = "", **product: Any) -> str:
    """The page of a new product."""
    status, page, _ = await Browser(server).get(f"/drop/{await server.create_product(**product)}{path}")
    assert status == 200
    return page


def data_in(page: str) -> dict[str, Any]:
    """The product for search engines."""
    [data] = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page)
    found: dict[str, Any] = json.loads(data)
    return found


async def test_the_page_has_all_that_a_buyer_needs(server: Server) -> None:
    page = await page_of(
        server, name="Aurora Tee", stock=1200, price=PRICE, images=[IMAGE], limitPerBuyer=3, description="One.\n\nTwo."
    )
    assert "<title>Aurora Tee · DROPZERO</title>" in page
    assert '<meta name="description" content="One. Two." />' in page
    assert '<p id="price" class="price">€48.00</p>' in page
    assert 'data-digits="5">1,200</bdi>' in page
    assert re.search(r"<p>One\.</p>\s*<p>Two\.</p>", page)
    assert re.search(r'<img src="/images/tee.webp" alt="A &#34;tee&#34;" width="800" height="1000" fetchp', page)
    assert re.search(r'<button id="buy" type="submit"[^>]* aria-disabled="false">Buy for €48.00</button>', page)
    assert 'max="3"' in page
    assert "Limit 3 per customer" in page


async def test_other_programs_can_read_it(server: Server) -> None:
    page = await page_of(server, name="Tee</script>", price=PRICE, images=[IMAGE])
    [address] = re.findall(r'<meta property="og:url" content="([^"]*)"', page)
    assert address.startswith(f"{server.url}/drop/")
    for tag in LANGUAGES:
        assert f'hreflang="{tag}" href="{address}?lang={tag}"' in page
    assert f'<link rel="canonical" href="{address}" />' in page
    assert f'<meta property="og:image" content="{server.url}/images/tee.webp" />' in page
    assert '<meta property="og:type" content="product" />' in page
    assert '<meta property="product:price:amount" content="48.00" />' in page
    data = data_in(page)
    assert (data["name"], data["image"]) == ("Tee</script>", [f"{server.url}/images/tee.webp"])
    assert data["offers"] == {
        "@type": "Offer",
        "url": address,
        "availability": "https://schema.org/InStock",
        "price": "48.00",
        "priceCurrency": "EUR",
    }


async def test_it_says_what_is_so_at_the_moment(server: Server) -> None:
    opened = {"opensAt": "2000-01-01T00:00:00Z"}
    for product, availability, button in (
        ({"stock": 0}, "SoldOut", "Sold out"),
        ({"opensAt": "2999-01-01T00:00:00Z"}, "PreOrder", "Not open yet"),
        ({**opened, "closesAt": "2000-01-02T00:00:00Z"}, "Discontinued", "Sale ended"),
        (opened, "InStock", "Buy one"),
    ):
        page = await page_of(server, **product)
        assert data_in(page)["offers"]["availability"] == f"https://schema.org/{availability}"
        assert re.search(rf'<button id="buy"[^>]*>{button}</button>', page)


async def test_a_description_of_another_language_is_marked(server: Server) -> None:
    descriptions = [{"language": "pt", "text": "Feita à mão."}]
    product_id = await server.create_product(description="By hand.", descriptions=descriptions)
    browser = Browser(server)
    for language, description in (("pt-BR", 'class="description" lang="pt">'), ("en", 'class="description">')):
        _, page, _ = await browser.get(f"/drop/{product_id}?lang={language}")
        assert description in page


async def test_the_other_options_of_a_family_are_links_and_those_sold_out_too(server: Server) -> None:
    family: dict[str, Any] = {"family": "Tee", "dropName": "A family"}
    small = await server.create_product(**family, option="S")
    medium = await server.create_product(**family, option="M", stock=0)
    await server.create_product(family="Tee", dropName="Another drop", option="XS")
    _, page, _ = await Browser(server).get(f"/drop/{small}?lang=ja", accept_language="en")

    [options] = re.findall(r'<nav class="options".*?</nav>', page, re.DOTALL)
    links = re.findall(r'data-id="([^"]*)" href="([^"]*)"([^>]*)><bdi>(\w+)', options)
    assert links == [
        (small, f"/drop/{small}?lang=ja", ' aria-current="page"', "S"),
        (medium, f"/drop/{medium}?lang=ja", ' class="out"', "M"),
    ]


async def test_a_product_that_does_not_exist_is_not_found(server: Server) -> None:
    for path in ("", ".ics"):
        status, _, _ = await Browser(server).get(f"/drop/00000000-0000-4000-8000-000000000000{path}")
        assert status == 404


async def test_the_opening_is_an_entry_for_a_calendar(server: Server) -> None:
    later = await server.create_product(name="Tee, grey", opensAt="2999-01-01T09:00:00+09:00")
    status, entry, headers = await Browser(server).get(f"/drop/{later}.ics")
    assert status == 200
    assert headers["content-type"].startswith("text/calendar")
    assert "\r\nDTSTART:29990101T000000Z\r\n" in entry
    assert "\r\nSUMMARY:Tee\\, grey\r\n" in entry
    open_ = await server.create_product()
    assert (await Browser(server).get(f"/drop/{open_}.ics"))[0] == 404


def test_long_lines_of_an_entry_are_folded_between_characters() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    product = new_product_row(name="長い名前" * 40, opens_at=now, price=Price("1", "EUR"))
    entry = calendar_of(product, "https://shop.example/drop/1")
    assert all(len(line) <= LONGEST_LINE for line in entry.split(b"\r\n"))
    assert f"SUMMARY:{product.name}\r\n" in entry.decode().replace("\r\n ", "")


@pytest.mark.parametrize("key", ["0" * 32, "f1" * 16])
def test_a_key_is_put_into_the_compressed_page_too(key: str) -> None:
    content = KeyedContent(b"<p>" + b"before " * 1000 + KEY_MARK + b" behind" * 1000 + b"</p>", "text/html")
    plain = content.response({}, key, {})
    compressed = content.response({b"accept-encoding": [b"gzip"]}, key, {})
    assert bytes(plain.body) == b"<p>" + b"before " * 1000 + key.encode() + b" behind" * 1000 + b"</p>"
    assert gzip.decompress(compressed.body) == plain.body
    assert len(compressed.body) < 300
    assert plain.headers["vary"] == compressed.headers["vary"] == "accept-encoding"
