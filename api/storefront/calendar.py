"""The calendar entry of an opening: iCalendar (RFC 5545), which reminds its reader some minutes before."""

from datetime import UTC, datetime

from api.drops.products import Product

MEDIA_TYPE = "text/calendar"

REMINDER = 10
"""Minutes before the opening at which the calendar reminds its reader."""

LONGEST_LINE = 75
"""Bytes of a line without its end (RFC 5545, section 3.1)."""


def calendar_of(product: Product, address: str) -> bytes:
    """Return the entry for the opening of a product that has one. `address`: of its page."""
    assert product.opens_at is not None, "it opens"
    name = _escaped(product.name)
    lines = (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//DROPZERO//Drop//EN",
        "BEGIN:VEVENT",
        f"UID:{product.id}@dropzero",
        f"SEQUENCE:{product.revision}",  # a newer file replaces the entry
        f"DTSTAMP:{_moment(product.read_at)}",
        f"DTSTART:{_moment(product.opens_at)}",
        "DURATION:PT15M",
        f"SUMMARY:{name}",
        f"URL:{address}",
        f"DESCRIPTION:{_escaped(address)}",
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        f"TRIGGER:-PT{REMINDER}M",
        f"DESCRIPTION:{name}",
        "END:VALARM",
        "END:VEVENT",
        "END:VCALENDAR",
    )
    return b"".join(map(_folded, lines))


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _escaped(text: str) -> str:
    for character in "\\;,":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", "\\n")


def _folded(line: str) -> bytes:
    """The line with its end, broken where it is too long. No character is broken in two."""
    parts: list[bytes] = [b""]
    for character in line:
        encoded = character.encode()
        if len(parts[-1]) + len(encoded) > LONGEST_LINE:
            parts.append(b" ")
        parts[-1] += encoded
    return b"\r\n".join(parts) + b"\r\n"
