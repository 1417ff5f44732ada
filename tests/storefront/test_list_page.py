"""The list of drops as the server sends it: what a reader without script sees."""

import asyncio
import re
import struct
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any, cast

import pytest

from api.database.database import Database
from api.database.endpoint import Endpoint
from api.database.pool import Pool, Record
from api.drops.availability import Availability
from api.drops.list_reads import ListPart, ListReads
from api.drops.new_product import create_product
from api.drops.product_search import ProductSearch
from api.drops.race_product import RACE
from api.drops.sample import SAMPLE
from api.settings import Settings
from api.shop.reading import read_shop
from api.storefront.languages import LANGUAGES
from tests.faults import Faulty
from tests.patience import PATIENCE
from tests.server import Server, serving

LATER, LATEST = "2998-01-01T00:00:00Z", "2999-01-01T00:00:00Z"


class Counting:
    """A database that counts the statements sent to it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.fetched = 0

    async def fetch(self, statement: str, *arguments: Any, timeout: float = PATIENCE) -> list[Record]:
        self.fetched += 1
        return await self._pool.fetch(statement, *arguments, timeout=timeout)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)


async def read(server: Server, path: str = "/", **headers: str) -> str:
    async with server.session.get(f"{server.url}{path}", headers=headers) as response:
        assert response.status == 200, path
        return unescape(await response.text())


def outline(page: str) -> list[str]:
    """The headings of the page's main part, in their order, and the states of the cards."""
    main = page[page.index("<main") : page.index("</main")]
    found = re.findall(r'<h[1-4][^>]*>(?:<a[^>]*>)?(?:<bdi[^>]*>)?([^<]+)|<p class="state">([^<]+)', main)
    return [heading or state for heading, state in found]


async def test_drops_are_in_sections_and_what_opens_soonest_comes_first(server: Server) -> None:
    await server.create_product(name="Gone", dropName="Old", stock=0)
    await server.create_product(name="Soon", dropName="New", opensAt=LATER)
    await server.create_product(name="Later", dropName="Newer", opensAt=LATEST)
    await server.create_product(name="Cap", dropName="First Light")
    await server.create_product(name="Tee", dropName="First Light")
    assert outline(await read(server)) == [
        "When it’s\u00a0gone, it’s\u00a0gone.",
        *("On sale", "First Light", "Tee", "Open now", "Cap", "Open now"),
        *("Coming up", "Soon", "Opens Monday, January 1, 2998 at 12:00 AM UTC"),
        *("Later", "Opens Tuesday, January 1, 2999 at 12:00 AM UTC"),
        *("Gone", "Gone", "Sold out"),
    ]


async def test_a_family_is_one_card_that_leads_to_what_can_be_bought(server: Server) -> None:
    ids = {}
    for option, stock, amount in (("S", 0, "45"), ("M", 5, "48"), ("L", 7, "48")):
        price = {"amount": amount, "currency": "EUR"}
        ids[option] = await server.create_product(
            name=f"Tee {option}", stock=stock, family="Tee", option=option, price=price
        )
    page = await read(server)
    assert outline(page)[1:] == ["On sale", "Tee", "Open now"]
    assert f'href="/drop/{ids["M"]}"' in page
    assert "S to L" in page
    assert "from €45.00" in page
    assert '<bdi class="units" dir="ltr">12</bdi>' in re.sub(r' data-digits="\d"', "", page)
    assert "ab 45" not in page


async def test_a_drop_can_be_shown_alone_and_a_long_list_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.storefront.list_page.PRODUCTS", dict.fromkeys(Availability, 2))
    await server.create_product(name="Lamp", dropName="Interiors")
    for name in ("Tee", "Cap", "Tote"):
        await server.create_product(name=name)

    assert outline(await read(server))[1:] == ["On sale", "First Light", "Tote", "Open now", "Cap", "Open now"]
    page = await read(server, "/?drop=first-light")
    assert outline(page) == ["First Light", "On sale", "Tote", "Open now", "Cap", "Open now"]
    assert "<title>First Light · DROPZERO</title>" in page
    assert f'<link rel="canonical" href="{server.url}/?drop=first-light" />' in page
    assert 'href="/?drop=first-light&lang=ja"' in page
    [more] = re.findall(r'<p class="more"><a href="([^"]+)"', page)
    rest = await read(server, more)
    assert outline(rest)[1:] == ["On sale", "Tee", "Open now"]
    assert 'class="more"' not in rest
    for unknown in ("/?drop=nothing", "/?show=nothing", "/?show=gone&after=nothing", "/?after=" + "a" * 5_000):
        async with server.session.get(f"{server.url}{unknown}") as response:
            assert response.status == 404


async def test_the_product_of_the_race_is_in_no_list(server: Server, pool: Pool) -> None:
    await create_product(pool, RACE)
    assert outline(await read(server))[1:] == []
    assert "No drops yet." in await read(server)
    async with server.session.get(f"{server.url}/sitemap.xml") as response:
        assert str(RACE.id) not in await response.text()


@pytest.mark.parametrize("path", ["/", "/none"])
async def test_links_keep_the_language_that_nothing_else_keeps(server: Server, path: str) -> None:
    await server.create_product()
    async with server.session.get(f"{server.url}{path}?lang=ja", headers={"accept-language": "en"}) as response:
        page = await response.text()
    links = re.findall(r'href="(/[^"]*)"', page)
    pages = [link for link in links if not re.match(r"/(static|graphql|shop|icon|apple)", link)]
    assert len(pages) > 5
    assert [link for link in pages if "lang=" not in link] == []


async def test_a_list_whose_database_does_not_answer_is_still_a_page(settings: Settings, faulty: Faulty) -> None:
    endpoints = tuple(Endpoint(endpoint.region, faulty.url) for endpoint in settings.endpoints)
    async with serving(replace(settings, endpoints=endpoints)) as server:
        faulty.down()
        async with server.session.get(f"{server.url}/") as response:
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            page = await response.text()
        assert "The shop can’t be reached." in page
        assert "<footer>" in page
        async with server.session.get(f"{server.url}/none") as response:
            assert response.status == 404


async def test_readers_of_a_moment_share_its_reads(pool: Pool) -> None:
    await create_product(pool, SAMPLE)
    counting = Counting(pool)
    reads = ListReads(cast("Database", counting))
    part, wrong = ListPart(ProductSearch(), 60), ListPart(ProductSearch(), 60, "no cursor")
    listed = await asyncio.gather(*(reads.get((part, wrong)) for _ in range(50)))
    assert counting.fetched == 1
    assert all(each.keys() == {part} and each[part].products[0].id == SAMPLE.id for each in listed)


SHOP = '''
[theme]
name = "Northlight"
[theme.dark]
paper = "#000010"
[seller]
name = "Northlight Clothing"
address = """
Pikk 1
Tallinn"""
contact = "hello@northlight.example"
[pages.terms.en]
title = "Terms"
text = """
You buy from <us>.

Not from others."""
[pages.terms.ja]
title = "利用規約"
text = "販売者は当社です。"
'''


async def test_a_shop_says_in_the_readers_language_who_sells_and_how(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "shop.toml").write_text(SHOP, encoding="utf-8")
    async with serving(replace(settings, shop=read_shop(str(tmp_path / "shop.toml")))) as server:
        front = await read(server)
        assert "<title>Northlight: limited drops, live</title>" in front
        assert all(
            part in front for part in ("Northlight Clothing", "Pikk 1", 'href="mailto:hello@northlight.example"')
        )
        assert 'content="#000010" media="(prefers-color-scheme: dark)"' in front
        assert "利用規約" in await read(server, "/about/terms?lang=ja")
        french = await read(server, "/about/terms?lang=fr")
        assert '<article class="legal" lang="en">' in french
        async with server.session.get(f"{server.url}/about/terms") as response:
            assert "You buy from &lt;us&gt;." in await response.text()
        async with server.session.get(f"{server.url}/about/returns") as response:
            assert response.status == 404
        async with server.session.get(f"{server.url}/sitemap.xml") as response:
            assert f"<loc>{server.url}/about/terms?lang=en</loc>" in await response.text()
        async with server.session.get(f"{server.url}/manifest.webmanifest?lang=ar") as response:
            manifest = await response.json(content_type="application/manifest+json")
        assert (manifest["name"], manifest["lang"], manifest["dir"]) == ("Northlight", "ar", "rtl")
        for icon in manifest["icons"]:
            async with server.session.get(f"{server.url}{icon['src']}") as response:
                assert response.headers["content-type"] == icon["type"]
                assert size_of(await response.read()) in (icon["sizes"], None)


def size_of(picture: bytes) -> str | None:
    """The size of a PNG picture, such as 192x192; None for another picture."""
    width, height = struct.unpack(">II", picture[16:24])
    return f"{width}x{height}" if picture.startswith(b"\x89PNG") else None


async def test_search_engines_learn_the_addresses_of_a_page_in_all_languages(server: Server) -> None:
    product_id = await server.create_product()
    page = await read(server, "/?lang=fr")
    assert f'<link rel="canonical" href="{server.url}/?lang=fr" />' in page
    assert page.count('rel="alternate" hreflang=') == len(LANGUAGES) + 1
    assert f'hreflang="x-default" href="{server.url}/?lang=en" />' in page  # an address that is canonical itself
    assert f'<meta property="og:image" content="{server.url}/icon-512.png" />' in page
    async with server.session.get(f"{server.url}/robots.txt") as response:
        assert f"Sitemap: {server.url}/sitemap.xml" in await response.text()
    async with server.session.get(f"{server.url}/sitemap.xml") as response:
        assert f"<loc>{server.url}/drop/{product_id}?lang=en</loc>" in await response.text()


async def test_a_sold_out_drop_shows_what_is_on_sale(server: Server) -> None:
    gone = await server.create_product(name="Gone", stock=0)
    await server.create_product(name="Later", opensAt=LATER)
    cap = await server.create_product(name="Cap")
    assert 'id="offers"' not in await read(server, f"/drop/{cap}")
    assert outline(await read(server, f"/drop/{gone}"))[-3:] == ["On sale", "Cap", "Open now"]
    async with server.session.get(f"{server.url}/none") as response:
        assert outline(await response.text())[-3:] == ["On sale", "Cap", "Open now"]
