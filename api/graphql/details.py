"""What a shop shows of a product: its images, its price, and its descriptions by language."""

from collections.abc import Sequence
from typing import Any

import strawberry

from api.drops import details
from api.drops.details import MAX_DESCRIPTIONS, MAX_IMAGES, MAX_SIDE
from api.drops.limits import MAX_DESCRIPTION
from api.graphql.cost import LONG


@strawberry.type(description="What one unit costs.")
class Price:
    amount: str = strawberry.field(description="A decimal number, such as 48.00, exactly as the operator wrote it.")
    currency: str = strawberry.field(description="The currency's code of ISO 4217, such as EUR.")

    @classmethod
    def of(cls, price: details.Price | None) -> "Price | None":
        return None if price is None else cls(amount=price.amount, currency=price.currency)


@strawberry.type(description="A picture of a product.")
class Image:
    url: str = strawberry.field(
        description="Its URL of https; or its path on this server, such as /images/tee.webp, which begins with a slash."
    )
    alt: str = strawberry.field(description="What it shows, in words.")
    width: int = strawberry.field(description="Pixels.")
    height: int = strawberry.field(description="Pixels.")

    @classmethod
    def of(cls, image: details.Image) -> "Image":
        return cls(url=image.url, alt=image.alt, width=image.width, height=image.height)


@strawberry.type(description="What buyers should know about a product, in one language.")
class Description:
    language: str = strawberry.field(description="The language's tag of BCP 47, such as pt-BR.")
    text: str = strawberry.field(description="Several lines of plain text.", metadata=LONG)

    @classmethod
    def of(cls, description: details.Description) -> "Description":
        return cls(language=description.language, text=description.text)


@strawberry.input(description="What one unit costs.")
class PriceInput:
    amount: str = strawberry.field(
        description="A decimal number, such as 48.00: up to 10 digits, and 3 after the point. It is kept as it is."
    )
    currency: str = strawberry.field(description="The currency's code of ISO 4217, such as EUR.")

    def checked(self, name: str) -> details.Price:
        """Raises InvalidInput."""
        return details.Price.checked(name, self.amount, self.currency)


@strawberry.input(description=f"A picture of a product, one of at most {MAX_IMAGES}.")
class ImageInput:
    url: str = strawberry.field(
        description="A URL of https, or the path of an uploaded file, such as /images/tee.webp; at most 500 characters."
    )
    alt: str = strawberry.field(description="What it shows, for those who do not see it: 1 to 200 characters.")
    width: int = strawberry.field(description=f"Pixels, 1 to {MAX_SIDE}: pages keep the space before it has arrived.")
    height: int = strawberry.field(description=f"Pixels, 1 to {MAX_SIDE}.")

    def checked(self, name: str) -> details.Image:
        """Raises InvalidInput."""
        return details.Image.checked(name, self.url, self.alt, self.width, self.height)


@strawberry.input(
    description=f"What buyers should know about a product, in one of at most {MAX_DESCRIPTIONS} languages."
)
class DescriptionInput:
    language: str = strawberry.field(description="The language's tag of BCP 47, such as pt-BR.")
    text: str = strawberry.field(description=f"1 to {MAX_DESCRIPTION} characters in several lines of plain text.")

    def checked(self, name: str) -> details.Description:
        """Raises InvalidInput."""
        return details.Description.checked(name, self.language, self.text)


def checked_details(field: str, value: Any) -> Any:
    """The value of a product's field as api.drops has it: an input object or a list of them is checked; all others are
    as they are. Raises InvalidInput."""
    if isinstance(value, PriceInput | ImageInput | DescriptionInput):
        return value.checked(field)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(each.checked(f"{field}.{place}") for place, each in enumerate(value))
    return value
