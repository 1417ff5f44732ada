"""The limits of every value that a client sends. The migrations have the same numbers."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

from api.drops.characters import INVISIBLE, SELECTOR, is_control
from api.drops.errors import InvalidInput

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")

MAX_TEXT = 200
"""Characters in a name, a drop's name, a userRef or an idempotency key, as it is sent and as it is stored."""

_UNSEEN = re.compile(f"{INVISIBLE.pattern}|\u2800")
"""Characters that show nothing. U+2800, Braille without a dot, is a blank that Unicode classes as a symbol."""

_JOINERS = ("\u200c", "\u200d")
_VIRAMA = 9
"""Unicode's combining class of viramas, which remove a consonant's vowel in the Indic scripts."""

_FIRST_JOINING = "\u0600"
"""Where the Arabic script begins. The scripts before it, Latin, Greek, Cyrillic and Hebrew, do not join."""

MAX_DESCRIPTION = 5_000
"""Characters of a product's description."""

MAX_IDS = 100
"""Ids of one read: as many as a page has items."""

MAX_UNITS = 2**31 - 1
"""Units of stock: GraphQL's Int and PostgreSQL's integer."""


def checked_text(name: str, value: str) -> str:
    """A userRef or an idempotency key in the form in which it is compared and stored: Unicode's NFKC, without blanks
    at its ends, 1 to MAX_TEXT characters. Raises InvalidInput.

    Two texts that look the same are one buyer, or one purchase. NFKC gives full width, ligatures and accents one form.
    Blanks at the ends are removed, since a form field or the end of a line adds them unseen. Characters that show
    nothing, control the text around them or are unknown to Unicode are refused: removing them could turn a mistake into
    another buyer. A printable ASCII text without blanks at its ends stays as it is.
    """
    _check_length(name, value)
    if value.isascii() and value.isprintable():
        text = value.strip()
    else:
        _refuse(name, value, _is_unseen)
        text = unicodedata.normalize("NFKC", value).strip()  # up to 18 times as long, so the length is checked first
        _refuse(name, text, _is_unseen)
        _check_length(name, text, least=0)
    if not text:
        raise InvalidInput(f"{name} must not be blank", name)
    return text


def checked_name(name: str, value: str) -> str:
    """A product's or a drop's name as it is stored and found: Unicode's NFC, without blanks at its ends, 1 to MAX_TEXT
    characters. Raises InvalidInput.

    A name is for people to read, and NFKC would change it: it turns a trademark sign into the letters TM. Characters
    that show nothing or control the text around them are refused, except two kinds that languages and emoji need. A
    zero-width joiner or non-joiner is accepted after a virama, or between two letters or symbols of scripts that join
    (Persian, the Indic ones, emoji). A variation selector is accepted after a visible character.
    """
    _check_length(name, value)
    if value.isascii() and value.isprintable():
        text = value.strip()
    else:
        normalised = unicodedata.normalize("NFC", value)  # up to 3 times as long
        _refuse(name, normalised, _is_out_of_place)
        text = normalised.strip()
        _check_length(name, text, least=0)
    if not text.strip(" \u2800"):
        raise InvalidInput(f"{name} must not be blank", name)
    return text


def checked_description(name: str, value: str) -> str:
    """Several lines of text for people to read, in the form and with the characters of checked_name: 1 to
    MAX_DESCRIPTION characters. Raises InvalidInput."""
    _check_length(name, value, most=MAX_DESCRIPTION)
    text = unicodedata.normalize("NFC", value.replace("\r\n", "\n")).strip()
    _refuse(name, text.replace("\n", " "), _is_out_of_place)
    _check_length(name, text, least=0, most=MAX_DESCRIPTION)
    if not text.strip(" \n\u2800"):
        raise InvalidInput(f"{name} must not be blank", name)
    return text


def _check_length(name: str, value: str, least: int = 1, most: int = MAX_TEXT) -> None:
    if not least <= len(value) <= most:
        raise InvalidInput(f"{name} must have 1 to {most} characters, not {len(value)}", name)


def _refuse(name: str, text: str, is_wrong: Callable[[str, int], bool]) -> None:
    """Raise InvalidInput for the first character that is wrong in its place."""
    for place, character in enumerate(text):
        if is_wrong(text, place):
            raise InvalidInput(
                f"{name} must not have the character U+{ord(character):04X}, at least not in this place", name
            )


def _is_unseen(text: str, place: int) -> bool:
    each = text[place]
    return is_control(each) or bool(_UNSEEN.match(each)) or unicodedata.category(each) == "Cn"


def _is_out_of_place(text: str, place: int) -> bool:
    each, before, after = text[place], text[place - 1 : place], text[place + 1 : place + 2]
    if each in _JOINERS:
        follows_virama = bool(before) and unicodedata.combining(before) == _VIRAMA
        return not (follows_virama or (_can_join(before) and _can_join(after)))
    if SELECTOR.match(each):
        return not before or before.isspace() or before in _JOINERS or bool(INVISIBLE.match(before))
    return is_control(each) or bool(INVISIBLE.match(each))


def _can_join(character: str) -> bool:
    """Whether joiners change how the character looks: letters and marks of scripts from Arabic on, and symbols."""
    is_latin_or_greek = "\u1e00" <= character <= "\u1fff"
    return character >= _FIRST_JOINING and not is_latin_or_greek and unicodedata.category(character)[0] in "LMS"


def checked_id(name: str, value: str) -> UUID:
    """The UUID that the text spells. Raises InvalidInput."""
    # UUID() alone accepts braces, underscores, and digits of other scripts.
    if _UUID.fullmatch(value) is None:
        raise InvalidInput(
            f"{name} must be a UUID, such as 6f1c0d0e-3c57-4c5a-9d57-0d8f4c1b2a3e, not {value[:50]!r}", name
        )
    return _uuid(value)


def checked_ids(name: str, values: Sequence[str]) -> list[UUID]:
    """The UUIDs that the texts spell, 1 to MAX_IDS. Raises InvalidInput."""
    if not 1 <= len(values) <= MAX_IDS:
        raise InvalidInput(f"{name} must name 1 to {MAX_IDS} ids, not {len(values)}", name)
    return [checked_id(name, value) for value in values]


@lru_cache(maxsize=1_000)
def _uuid(text: str) -> UUID:
    """Buyers of one drop send the same id thousands of times, and each time takes 2.5 us."""
    return UUID(text)


def checked_units(name: str, value: int, *, least: int) -> int:
    """The value itself, `least` to MAX_UNITS. Raises InvalidInput."""
    if not least <= value <= MAX_UNITS:
        raise InvalidInput(f"{name} must be between {least} and {MAX_UNITS}, not {value}", name)
    return value


def checked_moment(name: str, value: datetime) -> datetime:
    """The value in UTC, if it has an offset. Raises InvalidInput."""
    if value.tzinfo is None:
        raise InvalidInput(f"{name} must carry a UTC offset, such as 2026-12-01T10:00:00Z", name)
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{name} must be between the years 1 and 9999, in UTC", name) from None
