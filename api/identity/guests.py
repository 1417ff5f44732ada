"""Guest tokens: they make a buyer known in a shop without accounts. This deployment signs and verifies them itself."""

import base64
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from joserfc import jwt
from joserfc.errors import BadSignatureError, ExpiredTokenError, JoseError
from joserfc.jwk import OctKey

from api.identity.claims import Claims, TokenRefused

ISSUER = "dropzero-guests"
"""The `iss` of every guest token. The shop's own issuer is an address, so the two are never mistaken."""

SUBJECT_PREFIX = "guest-"
"""Subjects of guests begin with it, and no subject of the shop's issuer may."""

LIFETIME = 180 * 24 * 3600
"""Seconds that a guest token is valid: 180 days. A guest without it cannot see an order any more, and the payment of an
order can be disputed for 120 days. A key that is replaced has to verify for as long, so that a longer time would keep
old keys longer."""

MIN_KEY = 32
"""Characters of a key. HS256 requires 256 bits (RFC 7518, section 3.2)."""

MAX_KEYS = 5
"""Keys at once. A forged token is compared with each of them."""

_ALGORITHMS = ("HS256",)

_SUBJECT_BYTES = 16
"""Random bytes of a subject."""

_EXPECTED = (
    f"expected keys of at least {MIN_KEY} printable ASCII characters without spaces, separated by commas; "
    'make one with: python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
)

_REFUSED = "this deployment has not signed the guest token that was sent; get a new one by the mutation guest"
EXPIRED = "the guest token that was sent has expired; get a new one by the mutation guest"
"""The message for a guest token that is not valid any more."""


@dataclass(frozen=True, slots=True)
class GuestToken:
    """A new guest's token. `expires_at` in seconds since 1970."""

    token: str = field(repr=False)
    subject: str
    expires_at: int


def parse_guest_keys(text: str) -> tuple[str, ...]:
    """The keys in DROPZERO_GUEST_KEY. Raises ValueError, which has no part of a key."""
    keys = tuple(key.strip() for key in text.split(",") if key.strip())
    if not keys or not all(re.fullmatch(rf"[!-~]{{{MIN_KEY},}}", key) for key in keys):
        raise ValueError(_EXPECTED)
    if len(keys) > MAX_KEYS:
        raise ValueError(f"expected at most {MAX_KEYS} keys; remove those that sign no valid token any more")
    return keys


class GuestTokens:
    """Signs with the first key and verifies with all of them. So a new first key replaces another one without ending
    the tokens that the other key has signed."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [OctKey.import_key(key.encode()) for key in keys]
        self._first = keys[0].encode()

    def issue(self, now: float, request: str | None = None) -> GuestToken:
        """A token for a new guest. `now` in seconds since 1970. The same `request` gets the same guest each time: it is
        a secret of the guest's, such as the random key of a form that can be sent twice."""
        if request is None:
            unique = secrets.token_bytes(_SUBJECT_BYTES)
        else:  # what a JWS signs has no space, so that this is never the signature of a token
            unique = hmac.digest(self._first, b"guest of " + request.encode(), "sha256")[:_SUBJECT_BYTES]
        subject = f"{SUBJECT_PREFIX}{base64.urlsafe_b64encode(unique).decode().rstrip('=')}"
        issued_at = int(now)
        expires_at = issued_at + LIFETIME
        claims = {"iss": ISSUER, "sub": subject, "iat": issued_at, "exp": expires_at}
        token = jwt.encode({"alg": "HS256"}, claims, self._keys[0], algorithms=_ALGORITHMS)
        return GuestToken(token, subject, expires_at)

    def verify(self, token: str, now: float) -> Claims:
        """What a guest token says. `now` in seconds since 1970. Raises TokenRefused."""
        claims = self._signed_claims(token)
        expected = jwt.JWTClaimsRegistry(
            now=int(now),
            iss={"essential": True, "value": ISSUER},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            expected.validate(claims)
        except ExpiredTokenError:
            raise TokenRefused(EXPIRED) from None
        except JoseError:
            raise TokenRefused(_REFUSED) from None
        if not claims["sub"].startswith(SUBJECT_PREFIX):  # another program signs its tokens with this key
            raise TokenRefused(_REFUSED)
        return Claims(claims["sub"], frozenset(), guest=True, expires_at=claims["exp"])

    def _signed_claims(self, token: str) -> jwt.Claims:
        """The claims of a token that one of the keys has signed. Raises TokenRefused."""
        for key in self._keys:
            try:
                return jwt.decode(token, key, algorithms=_ALGORITHMS).claims
            except BadSignatureError:
                continue
            except (JoseError, ValueError, RecursionError):  # its parts cannot be read, or name another algorithm
                break
        raise TokenRefused(_REFUSED)
