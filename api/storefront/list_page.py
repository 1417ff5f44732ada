"""The list of drops: rendered with what the database says of them, in the order in which a buyer looks for them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.keyset import EARLIEST
from api.drops.list_reads import ListPart
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

SECTIONS = ("on_sale", "coming", "gone")
"""The sections of the list in their order, each with the key of its heading's text."""

PRODUCTS = 60
"""Products of a page at most: so many cards are 7 ms of the processor's time when they are rendered, and no more than
100 can be watched over one subscription."""

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
        after, slug = value_in_query(query, b"after"), value_in_query(query, b"drop")
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                client = self._clients.of(request.scope)
                drops = await self._drops.list_reads.newest_drops(DROPS)
                drop = None if slug is None else await self._drops.drop_reads.by_slug(slug)
                name = None if drop is None else drop.name
                listed = await self._drops.read_list(ListPart(PRODUCTS, after, name), client)
        except (DatabaseError, TimeoutError):
            headers = {**reader.headers, "retry-after": "1"}
            page = self._rendering.content(SHOP, reader, sections=None, more=None, drops=(), drop=None)
            return page.response(sent, headers, 503)
        if listed is None or (slug is not None and drop is None):
            return await self._missing.answer(request)
        parameters = {} if slug is None else {"drop": slug}
        here = "/" if slug is None else "/?" + urlencode(parameters)
        more = None if listed.after is None else "/?" + urlencode({**parameters, "after": listed.after})
        cards = cards_of(product for product in listed.products if product.id != RACE.id)
        cards.sort(key=lambda card: card.opens_at or EARLIEST)
        by_section = {heading: [card for card in cards if card.availability == heading] for heading in SECTIONS}
        sections = await self._sections(by_section, reader, is_one_drop=drop is not None)
        # A place in the list is nothing to find: it shows other drops tomorrow.
        origin = None if after else origin_of(request.scope, self._clients)
        shown = tuple(each for each in drops if each.name != RACE.drop_name)
        values = {"sections": sections, "more": more, "drops": shown, "drop": drop, "here": here, "origin": origin}
        return self._rendering.content(SHOP, reader, **values).response(sent, reader.headers)

    async def _sections(
        self, cards: Mapping[str, list[Card]], reader: Reader, *, is_one_drop: bool
    ) -> tuple[Section, ...]:
        """The sections that have any card. Cards that have changed are rendered, a few in one step of the event loop.
        `is_one_drop`: the page's own heading names the drop of all cards."""
        sections, count = [], 0
        for heading, of_heading in cards.items():
            rows = []
            for block in (Block(None, tuple(of_heading)),) if is_one_drop and of_heading else blocks_of(of_heading):
                level, rendered = (3 if block.name is None else 4), []
                for card in block.cards:
                    named, eager = is_one_drop or block.name is not None, count < EAGER
                    rendered.append(self._rendering.card(card, reader, level, named=named, eager=eager))
                    count += 1
                    if count % PAUSE == 0:
                        await asyncio.sleep(0)
                rows.append(Row(block.name, tuple(rendered)))
            if rows:
                sections.append(Section(heading, tuple(rows)))
        return tuple(sections)
