"""The list of drops: rendered with what the database says of them, in the order in which a buyer looks for them."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.availability import Availability
from api.drops.catalogue import Drop
from api.drops.drops import Drops
from api.drops.list_reads import Listed, ListPart
from api.drops.product_search import ProductSearch, ProductSort
from api.drops.race_product import RACE
from api.graphql.headers import headers_of
from api.identity.clients import Clients
from api.storefront.cards import Block, Card, blocks_of, cards_of
from api.storefront.drop_page import DATABASE_TIMEOUT
from api.storefront.languages import value_in_query
from api.storefront.missing_page import MissingPage
from api.storefront.origin import origin_of
from api.storefront.pages import SHOP
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering

PRODUCTS = {Availability.ON_SALE: 48, Availability.COMING: 24, Availability.GONE: 24}
"""Products of each section at most, in the order of the sections. Together they are no more than the 100 that can be
watched over one subscription, and 20 ms of the processor's time when all of their cards are rendered."""

DROPS = 6
"""Drops that the page offers to show alone: the newest."""

EAGER = 4
"""Pictures that a browser loads before it knows where they are. The others wait until they come near the screen."""

PAUSE = 4
"""Cards that are rendered in one step of the event loop. Each takes up to 0.3 ms."""


@dataclass(frozen=True, slots=True)
class Row:
    """Rendered cards side by side; see Block."""

    name: str | None
    cards: tuple[Markup, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """The cards that are on sale, coming or gone. `heading`: the key of its text. `more`: the address of the page with
    those that follow; None if none do."""

    heading: str
    rows: tuple[Row, ...]
    more: str | None


@dataclass(frozen=True, slots=True)
class View:
    """What a reader wants to see. `drop`: of one drop alone. `section`: one alone, behind the cursor `after`."""

    drop: Drop | None
    section: Availability | None
    after: str | None

    @property
    def parts(self) -> dict[Availability, ListPart]:
        """The part of a list that each section shows. What opens soonest comes first."""
        sections = PRODUCTS if self.section is None else (self.section,)
        names = () if self.drop is None else (self.drop.name,)
        return {
            section: ListPart(
                ProductSearch(
                    section,
                    names,
                    sort=ProductSort.OPENS_AT if section is Availability.COMING else ProductSort.NEWEST,
                ),
                PRODUCTS[section],
                self.after,
            )
            for section in sections
        }

    @property
    def address(self) -> str:
        """The path and the parameters of the page, from its begin on."""
        return "/" if self.drop is None else "/?" + urlencode({"drop": self.drop.slug})

    def address_of_more(self, section: Availability, listed: Listed) -> str | None:
        """The address of the page with what follows in a section; None if nothing does."""
        if listed.after is None:
            return None
        drop = {} if self.drop is None else {"drop": self.drop.slug}
        return "/?" + urlencode({**drop, "show": section.lower(), "after": listed.after})


class ListPage:
    """The endpoint."""

    def __init__(self, drops: Drops, clients: Clients, rendering: Rendering, missing: MissingPage) -> None:
        self._drops = drops
        self._clients = clients
        self._rendering = rendering
        self._missing = missing

    async def answer(self, request: Request) -> Response:
        """The list in the reader's language, or the part of it that the query string names."""
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                view = await self._view(request.scope["query_string"])
                listed = None if view is None else await self._read(request, view)
                drops = await self._drops.list_reads.newest_drops(DROPS)
        except (DatabaseError, TimeoutError):
            page = self._rendering.content(SHOP, reader, sections=None, drops=(), drop=None)
            return page.response(sent, {**reader.headers, "retry-after": "1"}, 503)
        if view is None or listed is None:
            return await self._missing.answer(request)
        values: dict[str, Any] = {
            "sections": await self._sections(view, listed, reader),
            "drops": tuple(drop for drop in drops if drop.name != RACE.drop_name),
            "drop": view.drop,
            "here": view.address,
            # A later part of the list is nothing to find: it shows other drops tomorrow.
            "origin": None if view.section else origin_of(request.scope, self._clients),
        }
        return self._rendering.content(SHOP, reader, **values).response(sent, reader.headers)

    async def _view(self, query: bytes) -> View | None:
        """What the query string names; None for what there is not. Raises DatabaseError."""
        slug, show, after = (value_in_query(query, name) for name in (b"drop", b"show", b"after"))
        drop = None if slug is None else await self._drops.drop_reads.by_slug(slug)
        section = next((section for section in PRODUCTS if section.lower() == show), None)
        if (drop is None) != (slug is None) or (section is None) != (show is None) or (after and section is None):
            return None
        return View(drop, section, after)

    async def _read(self, request: Request, view: View) -> dict[Availability, Listed] | None:
        """What the sections show; None if a cursor is of no such list. Raises DatabaseError."""
        parts = view.parts
        listed = await self._drops.read_lists(parts.values(), self._clients.of(request.scope))
        return {section: listed[part] for section, part in parts.items()} if len(listed) == len(parts) else None

    async def _sections(self, view: View, listed: dict[Availability, Listed], reader: Reader) -> tuple[Section, ...]:
        """The sections that have anything to show. A family is in the section of what is best of it."""
        cards = cards_of(product for each in listed.values() for product in each.products if product.id != RACE.id)
        sections, begin = [], 0
        for section, part in listed.items():
            heading = section.lower()
            of_section = [card for card in cards if card.availability == heading]
            rows = await self._rows(of_section, reader, begin, is_one_drop=view.drop is not None)
            begin += len(of_section)
            more = view.address_of_more(section, part)
            if rows or more:
                sections.append(Section(heading, rows, more))
        return tuple(sections)

    async def _rows(self, cards: list[Card], reader: Reader, begin: int, *, is_one_drop: bool) -> tuple[Row, ...]:
        """The rows of a section. Cards that have changed are rendered, a few in one step of the event loop. `begin`:
        the number of cards before it. `is_one_drop`: the page's own heading names the drop of all cards."""
        rows, count = [], begin
        for block in (Block(None, tuple(cards)),) if is_one_drop and cards else blocks_of(cards):
            level, named, rendered = (3 if block.name is None else 4), is_one_drop or block.name is not None, []
            for card in block.cards:
                rendered.append(self._rendering.card(card, reader, level, named=named, eager=count < EAGER))
                count += 1
                if count % PAUSE == 0:
                    await asyncio.sleep(0)
            rows.append(Row(block.name, tuple(rendered)))
        return tuple(rows)
