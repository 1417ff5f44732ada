"""Operators' tokens: one for each person or program that works for the shop, so that each can be withdrawn alone."""

import re
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest

MIN_TOKEN = 16
"""Characters of an operator's token."""

MAX_NAMED = 100
"""Operators' tokens with names. Each token that is sent is compared with all of them."""

FIRST_NAME = "operator"
"""The name of the operator whose token is DROPZERO_ADMIN_TOKEN."""

_NAME = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}"
_HASH = "sha256:"


def parse_operator_token(text: str) -> str:
    """The token in DROPZERO_ADMIN_TOKEN. Raises ValueError, which has no part of the token."""
    if not re.fullmatch(rf"[!-~]{{{MIN_TOKEN},}}", text):
        raise ValueError(f"expected at least {MIN_TOKEN} printable ASCII characters without spaces")
    return text


def parse_operator_tokens(text: str) -> dict[str, bytes]:
    """The SHA-256 of each operator's token in DROPZERO_ADMIN_TOKENS, by name. Raises ValueError. Its message counts the
    entries and repeats nothing of them: the end of a token in base64 looks like NAME=TOKEN too."""
    digests: dict[str, bytes] = {}
    for number, entry in enumerate(filter(None, map(str.strip, text.split(","))), start=1):
        name, _, token = entry.partition("=")
        if not re.fullmatch(_NAME, name) or not token:
            raise ValueError(
                f"expected NAME=TOKEN or NAME=sha256:HEX, separated by commas; entry {number} has no name of up to 64 "
                "letters, digits and . _ @ -, or no token"
            )
        if name == FIRST_NAME:
            raise ValueError(f"expected another name in entry {number}: DROPZERO_ADMIN_TOKEN has {FIRST_NAME!r}")
        digest = _digest_in(token, number)
        if name in digests or digest in digests.values():
            raise ValueError(f"expected a name and a token of its own in entry {number}; an entry before it has them")
        digests[name] = digest
    if not 1 <= len(digests) <= MAX_NAMED:
        raise ValueError(f"expected 1 to {MAX_NAMED} entries NAME=TOKEN, separated by commas")
    return digests


def _digest_in(token: str, number: int) -> bytes:
    if token.startswith(_HASH):
        if not re.fullmatch(r"[0-9A-Fa-f]{64}", token.removeprefix(_HASH)):
            raise ValueError(f"expected 64 hexadecimal digits behind sha256: in entry {number}")
        return bytes.fromhex(token.removeprefix(_HASH))
    try:
        return digest_of(parse_operator_token(token))
    except ValueError as error:
        raise ValueError(f"{error}, in entry {number}") from None


def digest_of(token: str) -> bytes:
    return sha256(token.encode()).digest()


class OperatorTokens:
    """Finds the operator of a token. Only hashes are kept: no token can be read from memory, or be logged."""

    def __init__(self, token: str | None, digests: Mapping[str, bytes] | None = None) -> None:
        """`token` is that of the operator FIRST_NAME. `digests` has the SHA-256 of other operators' tokens, by name."""
        self._digests = dict(digests or {})
        if token is not None:
            self._digests[FIRST_NAME] = digest_of(token)

    def __len__(self) -> int:
        return len(self._digests)

    def find(self, token: str) -> str | None:
        """The name of the operator whose token this is; None when it is nobody's. It takes the same time for any token
        of a length: all hashes are compared, whichever is equal."""
        digest, found = digest_of(token), None
        for name, known in self._digests.items():
            if compare_digest(digest, known):
                found = name
        return found
