"""Characters that mislead a reader: those that control a display, and those that show nothing."""

import re
import unicodedata

_SELECTORS = "\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Variation selectors, as in a regular expression: each chooses a look of the character before it."""

SELECTOR = re.compile(f"[{_SELECTORS}]")

INVISIBLE = re.compile(
    rf"[\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0\ufff0-\ufff8{_SELECTORS}\U000e0000-\U000e00ff\U000e01f0-\U000e0fff]"
)
"""Characters that show nothing: Unicode's property Default_Ignorable_Code_Point without the format characters."""

_CONTROLLING = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def is_control(character: str) -> bool:
    """Whether the character has no look of its own: a control or format character, half a surrogate pair, one for
    private use, a noncharacter of Unicode, or the end of a line or paragraph."""
    number = ord(character)
    return unicodedata.category(character) in _CONTROLLING or number & 0xFFFE == 0xFFFE or 0xFDD0 <= number <= 0xFDEF


def with_escapes(text: str) -> str:
    """The text with every control and every invisible character as a visible escape, such as \\x1b. It is safe in a
    terminal, and two texts that differ by an invisible character look different."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(each) if is_control(each) or INVISIBLE.match(each) else each for each in text)


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
