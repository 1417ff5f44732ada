"""The limits of every value that comes from outside, in one place; the migrations hold to the same numbers."""

import re
from datetime import UTC, datetime
from uuid import UUID

from api.drops.errors import InvalidInput

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")

# Control characters, which could play tricks in an operator's terminal, and of which PostgreSQL does not take NUL; and
# lone surrogates, which are no Unicode.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

MAX_TEXT = 200
"""Characters in a name, a drop's name, a userRef or an idempotency key."""

MAX_UNITS = 2**31 - 1
"""Units of stock: GraphQL's Int and PostgreSQL's integer."""


def checked_text(name: str, value: str) -> str:
    """The value itself, 1 to MAX_TEXT characters, none of them a control character. Raises InvalidInput."""
    if not 1 <= len(value) <= MAX_TEXT:
        raise InvalidInput(f"{name} must have 1 to {MAX_TEXT} characters, not {len(value)}")
    if (forbidden := _FORBIDDEN.search(value)) is not None:
        raise InvalidInput(f"{name} must not have the character U+{ord(forbidden[0]):04X}")
    return value


def checked_id(name: str, value: str) -> UUID:
    """The UUID that the text spells. Raises InvalidInput."""
    # UUID() alone is generous: it takes braces, underscores, and digits of other scripts.
    if _UUID.fullmatch(value) is None:
        raise InvalidInput(f"{name} must be a UUID, such as 6f1c0d0e-3c57-4c5a-9d57-0d8f4c1b2a3e, not {value[:50]!r}")
    return UUID(value)


def checked_units(name: str, value: int, *, least: int) -> int:
    """The value itself, `least` to MAX_UNITS. Raises InvalidInput."""
    if not least <= value <= MAX_UNITS:
        raise InvalidInput(f"{name} must be between {least} and {MAX_UNITS}, not {value}")
    return value


def checked_moment(name: str, value: datetime) -> datetime:
    """The value in UTC, if it says which moment it means. Raises InvalidInput."""
    if value.tzinfo is None:
        raise InvalidInput(f"{name} must carry a UTC offset, such as 2026-12-01T10:00:00Z")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InvalidInput(f"{name} must be between the years 1 and 9999, in UTC") from None
