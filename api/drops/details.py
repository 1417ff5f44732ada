"""What a shop shows of a product beside its stock: descriptions in other languages, images and the price."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson

from api.drops.errors import InvalidInput
from api.drops.limits import checked_description, checked_name

MAX_IMAGES = 10
MAX_DESCRIPTIONS = 20
"""Languages of a product's descriptions, beside the one without a language."""

MAX_DETAILS = 20_000
"""Characters of a product's descriptions or of its images, as JSON. Every transaction of purchases reads them."""

MAX_URL = 500
MAX_SIDE = 20_000
"""Pixels. No camera has more, and every browser's layout can compute with it."""

_AMOUNT = re.compile(r"(?:0|[1-9][0-9]{0,9})(?:\.[0-9]{1,3})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_OWN_FILE = re.compile(r"/(?:images|static)/[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_URL = re.compile(r"https://[!#-;=?-Z\[\]_a-z~]+")
"""The characters of URLs (RFC 3986), without quotes."""


@dataclass(frozen=True, slots=True)
class Price:
    """What one unit costs. `amount`: a decimal number, such as 48.00, never rounded. `currency`: its code of ISO 4217.
    It is stored as the text "48.00 EUR"."""

    amount: str
    currency: str

    @classmethod
    def checked(cls, name: str, amount: str, currency: str) -> "Price":
        """Raises InvalidInput."""
        if _AMOUNT.fullmatch(amount) is None:
            raise InvalidInput(f"{name}.amount must be a number such as 48.00, not {amount[:50]!r}", f"{name}.amount")
        if _CURRENCY.fullmatch(currency) is None:
            raise InvalidInput(
                f"{name}.currency must be a code of ISO 4217 such as EUR, not {currency[:50]!r}", f"{name}.currency"
            )
        return cls(amount, currency)

    @classmethod
    def of(cls, text: str | None) -> "Price | None":
        """The price that is stored as this text."""
        return None if text is None else cls(*text.split())

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


@dataclass(frozen=True, slots=True)
class Image:
    """A picture of a product. `url`: of https, or a file of this server's own. `alt`: what it shows, in words. `width`
    and `height` in pixels: pages keep the space for it before it has arrived."""

    url: str
    alt: str
    width: int
    height: int

    @classmethod
    def checked(cls, name: str, url: str, alt: str, width: int, height: int) -> "Image":
        """Raises InvalidInput."""
        if len(url) > MAX_URL or not (_OWN_FILE.fullmatch(url) or _is_https(url)):
            raise InvalidInput(
                f"{name}.url must be like https://shop.example/tee.webp, or /images/ and the name of an uploaded file, "
                f"in at most {MAX_URL} characters, not {url[:50]!r}",
                f"{name}.url",
            )
        for side, pixels in (("width", width), ("height", height)):
            if not 1 <= pixels <= MAX_SIDE:
                raise InvalidInput(
                    f"{name}.{side} must be between 1 and {MAX_SIDE} pixels, not {pixels}", f"{name}.{side}"
                )
        return cls(url, checked_name(f"{name}.alt", alt), width, height)


@dataclass(frozen=True, slots=True)
class Description:
    """What buyers should know, in one language. `language`: its tag of BCP 47."""

    language: str
    text: str

    @classmethod
    def checked(cls, name: str, language: str, text: str) -> "Description":
        """Raises InvalidInput."""
        if _LANGUAGE.fullmatch(language) is None:
            raise InvalidInput(
                f"{name}.language must be a tag of BCP 47 such as pt-BR, not {language[:50]!r}", f"{name}.language"
            )
        return cls(language, checked_description(f"{name}.text", text))


def checked_images(name: str, images: Sequence[Image]) -> tuple[Image, ...]:
    """The images themselves, which are checked one by one before. Raises InvalidInput."""
    if len(images) > MAX_IMAGES:
        raise InvalidInput(f"{name} must have at most {MAX_IMAGES} images, not {len(images)}", name)
    _require_size(name, images)
    return tuple(images)


def checked_descriptions(name: str, descriptions: Sequence[Description]) -> tuple[Description, ...]:
    """The descriptions themselves, which are checked one by one before. Raises InvalidInput."""
    if len(descriptions) > MAX_DESCRIPTIONS:
        raise InvalidInput(f"{name} must have at most {MAX_DESCRIPTIONS} languages, not {len(descriptions)}", name)
    languages = [description.language.lower() for description in descriptions]
    for language in languages:
        if languages.count(language) > 1:
            raise InvalidInput(f"{name} must have each language once, not {language!r} twice", name)
    _require_size(name, descriptions)
    return tuple(descriptions)


def described_in(language: str | None, descriptions: Iterable[Description], default: str | None) -> str | None:
    """The text for a reader of a language: see description_in; the default, if there is no such description."""
    found = description_in(language, descriptions)
    return default if found is None else found.text


def description_in(language: str | None, descriptions: Iterable[Description]) -> Description | None:
    """The description for a reader of a language: in that very language, or in another form of it, such as pt for
    pt-BR; None if there is none."""
    wanted = (language or "").lower()
    by_tag = {description.language.lower(): description for description in descriptions}
    if wanted in by_tag:
        return by_tag[wanted]
    primary = wanted.partition("-")[0]
    return next((found for tag, found in by_tag.items() if tag.partition("-")[0] == primary), None)


def encode_details(details: Sequence[Image] | Sequence[Description]) -> str | None:
    """The text that is stored; None for none."""
    return orjson.dumps(details).decode() if details else None


def decode_images(text: str | None) -> tuple[Image, ...]:
    return () if text is None else tuple(Image(**image) for image in orjson.loads(text))


def decode_descriptions(text: str | None) -> tuple[Description, ...]:
    return () if text is None else tuple(Description(**each) for each in orjson.loads(text))


def _require_size(name: str, details: Sequence[Image] | Sequence[Description]) -> None:
    size = len(encode_details(details) or "")
    if size > MAX_DETAILS:
        raise InvalidInput(f"{name} must have at most {MAX_DETAILS} characters together, as JSON, not {size}", name)


def _is_https(url: str) -> bool:
    try:
        return _URL.fullmatch(url) is not None and bool(urlsplit(url).hostname)
    except ValueError:  # such as brackets that do not match
        return False
