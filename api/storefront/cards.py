"""Cards: what lists of the shop show of its products. A family of products has one card."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from uuid import UUID

import orjson

from api.drops.availability import Availability
from api.drops.details import Image, Price
from api.drops.products import Product

STATES = ("open_now", "paused", "coming", "sold_out", "closed")
"""The states of a product's sale. A card has the first of those that its products have."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a list shows of a product, or of all products of a family in the order of their creation, at one moment.
    Cards of the same content are equal, so that each is rendered once in each language.

    `lead`: the id of the product that the card links to. `price`: the least of the products' prices; None if none has
    one. `prices_differ`: some product costs more, or has no price. `options`: the first and the last option; None for a
    single product. `stock`: of all products together. `opens_at`: when the first product opens, if all open later.
    `year`: a moment of the year of the reading, for dates.
    """

    lead: UUID
    name: str
    drop_name: str
    image: Image | None
    price: Price | None
    prices_differ: bool
    options: tuple[str, str] | None
    stock: int
    state: str
    opens_at: datetime | None
    year: datetime
    module_data: str
    """The products, for the page's module: JSON."""

    @classmethod
    def of(cls, products: list[Product]) -> "Card":
        """The card of a product, or of products of one family."""
        products = sorted(products, key=lambda product: (product.created_at, product.id))
        states = {product.id: state_of(product) for product in products}
        lead = min(products, key=lambda product: STATES.index(states[product.id]))
        prices = {product.price for product in products}
        options = [product.option for product in products if product.option is not None]
        openings = [product.opens_at for product in products if product.opens_at is not None]
        return cls(
            lead=lead.id,
            name=lead.name if len(products) == 1 else lead.family or lead.name,
            drop_name=lead.drop_name,
            image=next((product.images[0] for product in products if product.images), None),
            price=min(filter(None, prices), key=lambda price: Decimal(price.amount), default=None),
            prices_differ=len(prices) > 1,
            options=(options[0], options[-1]) if len(options) > 1 else None,
            stock=sum(product.stock for product in products),
            state=states[lead.id],
            opens_at=min(openings) if states[lead.id] == "coming" else None,
            year=lead.read_at.replace(month=1, day=2, hour=0, minute=0, second=0, microsecond=0),
            module_data=orjson.dumps([_module_data(product) for product in products]).decode(),
        )

    @property
    def availability(self) -> str:
        """Where lists have the card, and the key of that heading's text."""
        return {"open_now": "on_sale", "paused": "on_sale", "coming": "coming"}.get(self.state, "gone")

    @property
    def unit_label(self) -> str:
        """The key of the text beside the stock."""
        return "units_to_sell" if self.state == "coming" else "units_left"


@dataclass(frozen=True, slots=True)
class Block:
    """Cards side by side. `name`: of the drop that all of them belong to; None for cards of several drops."""

    name: str | None
    cards: tuple[Card, ...]


def state_of(product: Product) -> str:
    """The state of the product's sale when it was read, one of STATES: the key of its text, but for `coming`."""
    if product.availability is Availability.COMING:
        return "coming"
    if product.availability is Availability.GONE:
        return "sold_out" if product.closed_at(product.read_at) is None else "closed"
    return "open_now" if product.paused_at is None else "paused"


def cards_of(products: Iterable[Product]) -> list[Card]:
    """The cards of products, each in the place of the first of its products."""
    families: dict[tuple[str, str | UUID], list[Product]] = {}
    for product in products:
        families.setdefault((product.drop_name, product.family or product.id), []).append(product)
    return [Card.of(family) for family in families.values()]


def blocks_of(cards: Iterable[Card]) -> tuple[Block, ...]:
    """The cards in blocks, each in the place of the first of its cards: a block for a drop with several cards, and
    blocks for the others between them."""
    drops: dict[str, list[Card]] = {}
    for card in cards:
        drops.setdefault(card.drop_name, []).append(card)
    blocks: list[Block] = []
    for is_single, several in groupby(drops.values(), key=lambda of_drop: len(of_drop) == 1):
        if is_single:
            blocks.append(Block(None, tuple(card for (card,) in several)))
        else:
            blocks.extend(Block(of_drop[0].drop_name, tuple(of_drop)) for of_drop in several)
    return tuple(blocks)


def _module_data(product: Product) -> dict[str, object]:
    """What the module needs of a product, named as in GraphQL. It leaves out what there is not."""
    values = {
        "id": str(product.id),
        "stock": product.stock,
        "opensAt": product.opens_at,
        "closesAt": product.closes_at,
        "pausedAt": product.paused_at,
        "archivedAt": product.archived_at,
        "revision": product.revision,
    }
    return {name: value for name, value in values.items() if value is not None}
