"""What a shop is called, how it looks, who sells, and what it must say."""

from collections.abc import Mapping
from dataclasses import dataclass, field

NAME = "DROPZERO"
"""The name of a shop without a file."""

PAGES = ("shipping", "returns", "privacy", "terms")
"""The pages that a shop can have of its own, in the order in which pages link to them."""


@dataclass(frozen=True, slots=True)
class ShopFile:
    """A file beside the shop's own: its logo, or a font."""

    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Theme:
    """The look. `light` and `dark`: the colours that differ from the pages' own, as #rrggbb by the names of
    DEFAULT_COLOURS in `colours.py`. `fonts`: names of files by those of FONTS in `stylesheet.py`."""

    light: Mapping[str, str] = field(default_factory=dict)
    dark: Mapping[str, str] = field(default_factory=dict)
    fonts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seller:
    """Who sells, as laws of many countries want it on every page. `address`: several lines. `contact`: a mail address,
    or a URL of https."""

    name: str
    address: str
    contact: str

    @property
    def contact_url(self) -> str:
        return self.contact if self.contact.startswith("https://") else f"mailto:{self.contact}"


@dataclass(frozen=True, slots=True)
class LegalText:
    """A page in one language. `language`: its tag of BCP 47. `paragraphs`: plain text; a line break stays one."""

    language: str
    title: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LegalPage:
    """A page of the shop's own words. `texts` by language, those of `default` among them."""

    name: str
    default: str
    texts: Mapping[str, LegalText]

    def text(self, language: str) -> LegalText:
        """The text for a reader of a language of the storefront. It is in the shop's default language where there is no
        other: then its `language` is not the reader's, and the page says so with `lang`."""
        return self.texts.get(language, self.texts[self.default])


@dataclass(frozen=True, slots=True)
class Shop:
    """A shop. `logo`: the name of its file. `seller`: None if the file names none. `pages`: those that it has, by name,
    in the order of PAGES. `files`: what is served below /shop/, by name."""

    name: str = NAME
    logo: str | None = None
    theme: Theme = Theme()
    seller: Seller | None = None
    pages: Mapping[str, LegalPage] = field(default_factory=dict)
    files: Mapping[str, ShopFile] = field(default_factory=dict)

    @property
    def logo_url(self) -> str | None:
        return None if self.logo is None else f"/shop/{self.logo}"
