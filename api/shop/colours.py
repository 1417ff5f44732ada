"""Colours: those of the pages, and whether a text differs enough from what is behind it (WCAG 2.2, 1.4.3)."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain

from api.shop.shop import Theme

DEFAULT_COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#f4f0e7", "#0f0d0b"),
    "surface": ("#fffcf5", "#1b1815"),
    "ink": ("#17130e", "#f6f1e7"),
    "quiet": ("#5e574b", "#b0a797"),
    "line": ("#d9d1c1", "#38332c"),
    "accent": ("#d33a00", "#ff6d2e"),
    "on-accent": ("#ffffff", "#170800"),
    "emphasis": ("#b03000", "#ff8a55"),
    "good": ("#176b3a", "#58c98a"),
}
"""The colours of `storefront/styles/base.css` by the names of their properties, each for the light and the dark scheme.

paper: behind everything. surface: behind a card, a ticket, a field. ink: texts, headings, the skip link. quiet: smaller
texts. line: rules, borders, a button that is off. accent: the Buy button, the bar of the stock. on-accent: what is
written on it. emphasis: links and warnings. good: that something worked."""

TEXTS = (
    *((text, behind) for text in ("ink", "quiet", "emphasis", "good") for behind in ("paper", "surface")),
    ("quiet", "line"),
    ("on-accent", "accent"),
    ("paper", "ink"),
)
"""What the stylesheets write on what."""

LEAST_CONTRAST = 4.5
"""Of a text on what is behind it (WCAG 2.2, level AA)."""

_COLOUR = re.compile(r"#(?:[0-9a-f]{3}|[0-9a-f]{6})", re.IGNORECASE)


def parse_colour(text: object) -> str:
    """A colour as #rrggbb, in lower case. Raises ValueError."""
    if not isinstance(text, str) or not _COLOUR.fullmatch(text):
        raise ValueError(f"expected a colour such as #d33a00, not {str(text)[:50]!r}")
    digits = text[1:].lower()
    return "#" + (digits if len(digits) == 6 else "".join(digit * 2 for digit in digits))


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 for the same colour to 21 for black and white."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def faults(colours: Mapping[str, str]) -> Iterator[str]:
    """What cannot be read in one scheme, whose colours are these, all of DEFAULT_COLOURS."""
    for text, behind in TEXTS:
        ratio = contrast(colours[text], colours[behind])
        if ratio < LEAST_CONTRAST:
            yield (
                f"{text} ({colours[text]}) on {behind} ({colours[behind]}) has a contrast of {ratio:.2f}:1, and needs "
                f"{LEAST_CONTRAST}:1"
            )


def scheme(own: Mapping[str, str], place: int) -> dict[str, str]:
    """All colours of a scheme, 0 for the light and 1 for the dark one: a shop's own, and the pages' where it has
    none."""
    return {name: own.get(name, colours[place]) for name, colours in DEFAULT_COLOURS.items()}


def paper_of(theme: Theme) -> tuple[str, str]:
    """What is behind everything, in the light and in the dark scheme of a theme."""
    return scheme(theme.light, 0)["paper"], scheme(theme.dark, 1)["paper"]


def _luminance(colour: str) -> float:
    """The relative luminance, as WCAG 2.2 defines it."""
    parts = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), chain(linear), strict=True))
