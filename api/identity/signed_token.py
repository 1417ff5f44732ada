"""A JSON Web Token as it was sent: decoded, and not yet believed."""

import binascii
import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

import orjson

from api.identity.claims import TokenRefused

MAX_TOKEN = 8 * 1024
"""Characters of a token. Tokens of issuers have about 1,000; one with many groups has 4,000."""

MAX_KEY_ID = 200
"""Characters of a key's id. Issuers use hashes and UUIDs."""

TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""Values of `typ` that a token can have, in lower case. An issuer signs other things with the same keys, such as the
notes by which it announces a logout (`logout+jwt`), and none of them shows who is calling."""

_NO_JWT = "the token that was sent is not a JSON Web Token: send the access token that the shop's sign-in has given"


_SHAPE = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)")
"""Three parts in base64url, without padding (RFC 7515, section 7.1). A token without a signature has an empty third."""


@dataclass(frozen=True, slots=True)
class SignedToken:
    """`algorithm` and `key_id` name what the signature is said to be made with. `message` is what `signature` signs."""

    algorithm: str
    key_id: str | None
    claims: dict[str, Any]
    message: bytes
    signature: bytes

    @classmethod
    def parse(cls, token: str) -> "SignedToken":
        """The token, decoded. Raises TokenRefused for all that no issuer's token is."""
        if len(token) > MAX_TOKEN:
            raise TokenRefused(f"the token that was sent is too long: a token can have {MAX_TOKEN} characters")
        shape = _SHAPE.fullmatch(token)
        if shape is None:
            raise TokenRefused(_NO_JWT)
        header, claims = _object(shape[1]), _object(shape[2])
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if not isinstance(algorithm, str) or not isinstance(key_id, str | None) or not isinstance(kind, str):
            raise TokenRefused(_NO_JWT)
        # An extension that is marked as critical must be understood (RFC 7515, section 4.1.11). None is.
        if kind.lower() not in TYPES or "crit" in header or len(key_id or "") > MAX_KEY_ID:
            raise TokenRefused("the token that was sent is not an access token: send the one of the shop's sign-in")
        message = token[: shape.end(2)].encode()
        return cls(algorithm, key_id, claims, message, _decoded(shape[3]))


def _decoded(part: str) -> bytes:
    """The bytes of a part of a token. Raises TokenRefused."""
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise TokenRefused(_NO_JWT) from None


def _object(part: str) -> dict[str, Any]:
    """The JSON object in a part of a token. Raises TokenRefused."""
    try:
        value = orjson.loads(_decoded(part))
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise TokenRefused(_NO_JWT)
    return value
