"""Offers: a few products on sale, for pages that have nothing else to sell."""

import asyncio
from uuid import UUID

from markupsafe import Markup

from api.database.errors import DatabaseError
from api.drops.availability import Availability
from api.drops.drops import Drops
from api.drops.list_reads import ListPart
from api.drops.product_search import ProductSearch
from api.drops.race_product import RACE
from api.storefront.cards import cards_of
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering

MOST = 4
"""Cards at most: a row on a wide screen."""

_PART = ListPart(ProductSearch(Availability.ON_SALE), 12)
"""The products that are read for them: some are paused, and some are of one family."""

_TIMEOUT = 0.5
"""Seconds that a page waits for its offers. It can do without."""


class Offers:
    """The offers of one process."""

    def __init__(self, drops: Drops, rendering: Rendering) -> None:
        self._drops = drops
        self._rendering = rendering

    async def get(self, reader: Reader, client: str, without: UUID | None = None) -> tuple[Markup, ...]:
        """The cards of the newest products on sale, rendered for the reader, below a heading of level 2. None for the
        product `without`, and none at all while the database does not answer."""
        try:
            async with asyncio.timeout(_TIMEOUT):
                listed = await self._drops.read_lists((_PART,), client)
        except (DatabaseError, TimeoutError):
            return ()
        others = [product for product in listed[_PART].products if product.id not in (RACE.id, without)]
        cards = [card for card in cards_of(others) if card.state == "open_now"]
        return tuple(self._rendering.card(card, reader) for card in cards[:MOST])
