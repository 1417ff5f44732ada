"""The list of drops: rendered with what the database says of them, in the order in which a buyer looks for them."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.list_reads import ListPart
from api.drops.race_product import RACE
from api.graphql.headers import headers_of
from api.identity.clients import Clients
from api.storefront.cards import Block, blocks_of, cards_of
from api.storefront.drop_page import DATABASE_TIMEOUT
from api.storefront.languages import value_in_query
from api.storefront.missing_page import MissingPage
from api.storefront.origin import origin_of
from api.storefront.pages import SHOP
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering

SECTIONS = ("on_sale", "coming", "gone")
"""The sections of the list in their order, each with the key of its heading's text."""

PRODUCTS = 60
"""Products of a page at most: so many cards are 7 ms of the processor's time when they are rendered, and no more than
100 can be watched over one subscription."""

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
    """The cards that are on sale, coming or gone. `heading`: the key of its text."""

    heading: str
    rows: tuple[Row, ...]


class ListPage:
    """The endpoint."""

    def __init__(self, drops: Drops, clients: Clients, rendering: Rendering, missing: MissingPage) -> None:
        self._drops = drops
        self._clients = clients
        self._rendering = rendering
        self._missing = missing

    async def answer(self, request: Request) -> Response:
        """The list in the reader's language, from the place that the query string names on."""
        sent, query = headers_of(request.scope), request.scope["query_string"]
        reader = Reader.of(sent, query)
        part = ListPart(PRODUCTS, value_in_query(query, b"after"))
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                listed = await self._drops.read_list(part, self._clients.of(request.scope))
        except (DatabaseError, TimeoutError):
            headers = {**reader.headers, "retry-after": "1"}
            return self._rendering.content(SHOP, reader, sections=None, more=None).response(sent, headers, 503)
        if listed is None:
            return await self._missing.answer(request)
        more = None if listed.after is None else "/?" + urlencode({"after": listed.after})
        cards = cards_of(product for product in listed.products if product.id != RACE.id)
        by_section = {heading: [card for card in cards if card.availability == heading] for heading in SECTIONS}
        sections = await self._sections({heading: blocks_of(cards) for heading, cards in by_section.items()}, reader)
        # A place in the list is nothing to find: it shows other drops tomorrow.
        place: dict[str, str] = {} if part.after else {"here": "/", "origin": origin_of(request.scope, self._clients)}
        page = self._rendering.content(SHOP, reader, sections=sections, more=more, **place)
        return page.response(sent, reader.headers)

    async def _sections(self, blocks: Mapping[str, Iterable[Block]], reader: Reader) -> tuple[Section, ...]:
        """The sections that have any card. Cards that have changed are rendered, a few in one step of the event
        loop."""
        sections, cards = [], 0
        for heading, of_heading in blocks.items():
            rows = []
            for block in of_heading:
                level, rendered = (3 if block.name is None else 4), []
                for card in block.cards:
                    eager = cards < EAGER
                    rendered.append(self._rendering.card(card, reader, level, named=level == 4, eager=eager))
                    cards += 1
                    if cards % PAUSE == 0:
                        await asyncio.sleep(0)
                rows.append(Row(block.name, tuple(rendered)))
            if rows:
                sections.append(Section(heading, tuple(rows)))
        return tuple(sections)
