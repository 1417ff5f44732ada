"""The options of a product's values, which creating and changing a product share."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from api.client.graphql import GraphQLClient, RequestFailed
from api.client.images import MAX_IMAGE, download_image, upload_image
from api.commands.running import moment
from api.images.formats import InvalidImage, Measured

_PRICE = re.compile(r"(\S+) +([A-Za-z]{3})")
_MOMENT = "2026-12-01T10:00+01:00"


def price(text: str) -> dict[str, str]:
    """The price that an option names, as the API has it. Raises BadParameter."""
    if (match := _PRICE.fullmatch(text.strip())) is None:
        raise typer.BadParameter(f'write a number and a currency, such as "48.00 EUR", not {text!r}')
    return {"amount": match[1], "currency": match[2].upper()}


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image as an option names it: a file or a URL, and what the image shows."""

    source: str
    alt: str

    @classmethod
    def parse(cls, text: str) -> "ImageSource":
        """Raises BadParameter. A URL can have `=` in it, so the text is behind the last one."""
        source, _, alt = text.rpartition("=")
        if not source or not alt.strip():
            raise typer.BadParameter(
                f"write a file or a URL, and what the image shows: 'tee.webp=White tee with the aurora', not {text!r}"
            )
        return cls(source, alt.strip())

    async def image(self, client: GraphQLClient) -> dict[str, Any]:
        """The image, as the API has it: a file is uploaded to the server. Raises RequestFailed."""
        if self.source.startswith("https://"):
            try:
                measured = Measured.of(await download_image(client, self.source))
            except InvalidImage as error:
                raise RequestFailed(f"{self.source}: {error}") from None
            return {"url": self.source, "alt": self.alt, "width": measured.width, "height": measured.height}
        return {**await upload_image(client, self.source, _read(Path(self.source))), "alt": self.alt}


@dataclass(frozen=True, slots=True)
class DescriptionIn:
    """A description as an option names it. `text`: empty to remove it."""

    language: str
    text: str

    @classmethod
    def parse(cls, text: str) -> "DescriptionIn":
        """Raises BadParameter."""
        language, equals, description = text.partition("=")
        if not equals or not language.strip():
            raise typer.BadParameter(f"write a language and a text: 'ja=黒いTシャツ', not {text!r}")
        return cls(language.strip(), description)


def with_descriptions(known: Sequence[dict[str, Any]], new: Sequence[DescriptionIn]) -> list[dict[str, str]]:
    """The descriptions of a product, with the new ones in place of those in the same languages."""
    named = {each.language.lower() for each in new}
    kept = [{"language": each["language"], "text": each["text"]} for each in known]
    added = [{"language": each.language, "text": each.text} for each in new if each.text]
    return [each for each in kept if each["language"].lower() not in named] + added


def _read(path: Path) -> bytes:
    """Raises RequestFailed."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_IMAGE + 1)
    except OSError as error:
        raise RequestFailed(f"cannot read {str(path)!r}: {error.strerror}") from None
    if len(content) > MAX_IMAGE:
        raise RequestFailed(f"{str(path)!r} has more than {MAX_IMAGE} bytes; make it smaller")
    return content


Description = Annotated[str | None, typer.Option(help="What buyers should know.")]
DescriptionsIn = Annotated[
    list[DescriptionIn],
    typer.Option(
        "--description-in",
        parser=DescriptionIn.parse,
        metavar="LANGUAGE=TEXT",
        help="What readers of a language should know; repeat it for others. Without a text it removes one.",
    ),
]
Images = Annotated[
    list[ImageSource],
    typer.Option(
        "--image",
        parser=ImageSource.parse,
        metavar="FILE_OR_URL=TEXT",
        help="A picture and what it shows; repeat it for more, the first one foremost. A file is uploaded.",
    ),
]
Price = Annotated[
    dict[str, str] | None,
    typer.Option(parser=price, metavar="'48.00 EUR'", help="What one unit costs; no price by default."),
]
Family = Annotated[
    str | None, typer.Option(help="The name that it shares with products of its drop that differ in their option.")
]
Option = Annotated[str | None, typer.Option(help="What sets it apart in its family, such as a size.")]
OpensAt = Annotated[
    datetime | None,
    typer.Option(
        parser=moment,
        metavar="MOMENT",
        help=f"When the drop opens, with a UTC offset: {_MOMENT}. Open at once by default.",
    ),
]
ClosesAt = Annotated[
    datetime | None,
    typer.Option(parser=moment, metavar="MOMENT", help="When the drop closes; never by default."),
]
BuyersLimit = Annotated[int | None, typer.Option(help="Units that one buyer can hold; no limit by default.")]
HoldSeconds = Annotated[
    int | None, typer.Option(help="Seconds that a buyer has to pay; a purchase is final at once by default.")
]
