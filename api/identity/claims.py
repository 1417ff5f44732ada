"""What a valid token says of its bearer, and the errors for tokens that are refused or cannot be checked."""

import unicodedata
from dataclasses import dataclass

MAX_SUBJECT = 200
"""Characters of a subject. A subject is stored as the `userRef` of its orders, which has as many."""

_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that show nothing, although Python calls them printable. Variation selectors are marks that show nothing
too: see `_is_selector`."""


class TokenRefused(Exception):
    """The token is not valid here. The message says why and what to do, and has no part of the token."""


class IssuerAway(Exception):
    """The token cannot be checked now, because the issuer does not answer. The message says what to do. The same token
    can be valid a moment later."""


@dataclass(frozen=True, slots=True)
class Claims:
    """`subject`: the buyer. `roles`: names of this server's roles. `guest`: whether this server has signed the token.
    `expires_at`: the Unix time, in seconds, from which the token is refused; a leeway is part of it."""

    subject: str
    roles: frozenset[str]
    guest: bool
    expires_at: float


def is_subject(value: object) -> bool:
    """Whether the value can be a subject: a text of 1 to MAX_SUBJECT visible characters, without blanks at its ends, in
    Unicode's form NFKC.

    A `userRef` is brought into that form. A subject is refused instead: two subjects of an issuer are two buyers, and
    bringing both into one form could make them one.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_SUBJECT:
        return False
    if not value.isprintable() or value != value.strip():
        return False
    return value.isascii() or (
        unicodedata.is_normalized("NFKC", value) and not any(each in _UNSEEN or _is_selector(each) for each in value)
    )


def _is_selector(character: str) -> bool:
    """Whether the character is a variation selector, which only chooses a look of the character before it."""
    return (
        "\u180b" <= character <= "\u180f"
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )
