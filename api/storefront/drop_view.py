"""What the page of a product shows: the product and the other options of its family, at one moment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from api.drops.details import Description, Image, description_in
from api.drops.families import Variant
from api.drops.products import Product

MAX_SUMMARY = 200
"""Characters of the description that search engines and messengers show."""

AVAILABILITY = {
    "not_open_yet": "PreOrder",
    "open_now": "InStock",
    "paused": "OutOfStock",
    "sold_out": "SoldOut",
    "closed": "Discontinued",
}
"""schema.org's availability, by the state of the sale."""


def sale_of(product: Product) -> str:
    """The state of the sale when the product was read: the key of its text, and of AVAILABILITY."""
    if product.closed_at(product.read_at) is not None:
        return "closed"
    if product.opens_at is not None and product.opens_at > product.read_at:
        return "not_open_yet"
    if product.stock <= 0:
        return "sold_out"
    return "open_now" if product.paused_at is None else "paused"


@dataclass(frozen=True, slots=True)
class DropView:
    """`variants`: the products of the family, this one included; none without a family. `sale`: see sale_of. `year`:
    a moment of this year, for dates. `origin`: of the shop's addresses. A view is the same for all readers of a
    moment, so that it is rendered once in each language."""

    product: Product
    variants: tuple[Variant, ...]
    sale: str
    year: datetime
    origin: str

    @classmethod
    def of(cls, product: Product, variants: tuple[Variant, ...], origin: str) -> "DropView":
        """The view of the moment at which the product was read, by the database's clock."""
        year = product.read_at.replace(month=1, day=2, hour=0, minute=0, second=0, microsecond=0)
        return cls(product, variants, sale_of(product), year, origin)

    @property
    def address(self) -> str:
        """The page's address, without a language."""
        return f"{self.origin}/drop/{self.product.id}"

    @property
    def figure(self) -> Image | None:
        """The foremost picture; None if there is none."""
        return self.product.images[0] if self.product.images else None

    @property
    def gone(self) -> int:
        """Units that are sold or on hold."""
        return self.product.stocked - self.product.stock

    def description(self, language: str) -> Description | None:
        """The description for a reader of the language. Its own `language` is empty where nobody has said which it
        is."""
        found = description_in(language, self.product.descriptions)
        if found is None and self.product.description is not None:
            return Description("", self.product.description)
        return found

    def summary(self, language: str) -> str | None:
        """The begin of the description, in one line."""
        found = self.description(language)
        if found is None:
            return None
        text = " ".join(found.text.split())
        return text if len(text) <= MAX_SUMMARY else f"{text[: MAX_SUMMARY - 1].rstrip()}…"

    def absolute(self, url: str) -> str:
        """The URL of a picture, with the shop's origin if it is one of its own files."""
        return f"{self.origin}{url}" if url.startswith("/") else url

    def linked_data(self, language: str) -> str:
        """The product for search engines: JSON-LD of schema.org."""
        product = self.product
        offer: dict[str, Any] = {
            "@type": "Offer",
            "url": self.address,
            "availability": f"https://schema.org/{AVAILABILITY[self.sale]}",
        }
        if product.price is not None:
            offer |= {"price": product.price.amount, "priceCurrency": product.price.currency}
        if self.sale == "not_open_yet" and product.opens_at is not None:
            offer["availabilityStarts"] = product.opens_at.isoformat()
        data: dict[str, Any] = {
            "@context": "https://schema.org",
            "@type": "Product",
            "name": product.name,
            "sku": str(product.id),
            "image": [self.absolute(image.url) for image in product.images],
            "description": self.summary(language),
            "offers": offer,
        }
        return orjson.dumps({name: value for name, value in data.items() if value}).decode()

    def module_data(self, language: str) -> str:
        """The product for the page's module, as the module reads it from GraphQL."""
        product, price = self.product, self.product.price
        described = self.description(language)
        return orjson.dumps(
            {
                "id": str(product.id),
                "name": product.name,
                "dropName": product.drop_name,
                "description": None if described is None else described.text,
                "stock": product.stock,
                "stocked": product.stocked,
                "opensAt": product.opens_at,
                "closesAt": product.closes_at,
                "archivedAt": product.archived_at,
                "pausedAt": product.paused_at,
                "limitPerBuyer": product.limit_per_buyer,
                "holdSeconds": product.hold_seconds,
                "revision": product.revision,
                "version": product.version,
                "createdAt": product.created_at,
                "option": product.option,
                "price": None if price is None else {"amount": price.amount, "currency": price.currency},
            }
        ).decode()
