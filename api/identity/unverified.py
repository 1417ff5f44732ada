"""What a token claims to be, before anything of it is verified: good for choosing a verifier, and for nothing else."""

import re
from base64 import urlsafe_b64decode
from dataclasses import dataclass
from typing import Any

import orjson

from api.identity.signed_token import MAX_TOKEN

_JWT = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)\.([A-Za-z0-9_-]*)")


@dataclass(frozen=True, slots=True)
class Unverified:
    """A JWT as it was sent. `issuer` is empty, and `expires_at` None, where the token has none of the right type.
    `expires_at` in seconds since 1970."""

    issuer: str
    expires_at: float | None


def read_unverified(token: str) -> Unverified | None:
    """Read a JWT without verifying it. Returns None for a token of another kind, such as an operator's."""
    parts = _JWT.fullmatch(token)
    if parts is None or "alg" not in _json_object(parts[1][:MAX_TOKEN]):
        return None
    claims = {} if len(token) > MAX_TOKEN else _json_object(parts[2])
    issuer, expires_at = claims.get("iss"), claims.get("exp")
    return Unverified(
        issuer if isinstance(issuer, str) else "",
        expires_at if isinstance(expires_at, int | float) and not isinstance(expires_at, bool) else None,
    )


def _json_object(encoded: str) -> dict[str, Any]:
    """The JSON object in base64url; an empty one for anything else."""
    try:
        value = orjson.loads(urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)))
    except ValueError:  # of base64 and of JSON
        return {}
    return value if isinstance(value, dict) else {}
