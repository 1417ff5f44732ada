"""The shop's OpenID Connect issuer: verifies the tokens that it has signed."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.identity.claims import Claims, IssuerAway, TokenRefused
from api.identity.issuer_keys import IssuerKeys, IssuerTimes
from api.identity.issuer_settings import SIGN_IN, IssuerSettings
from api.identity.json_web_keys import VerificationKey
from api.identity.signed_token import MAX_TOKEN, SignedToken

MAX_REMEMBERED = 20_000
"""Verified tokens that are remembered. They take 11 MB. The token verified longest ago is forgotten first."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """`key`: with which the token was verified. `until`: in Unix seconds."""

    claims: Claims
    key: VerificationKey
    until: float


class Issuer:
    """Verifies tokens. A verified token is remembered, so that the next request with it costs one hash.

    Refused tokens are not remembered: a client that sends garbage can send a different token each time. All checks that
    need no cryptography come before the signature, and before the issuer is asked for a new key.
    """

    def __init__(
        self, settings: IssuerSettings, times: IssuerTimes = IssuerTimes(), clock: Callable[[], float] = time.time
    ) -> None:
        """`clock` returns Unix seconds."""
        self.settings = settings
        self._times = times
        self._clock = clock
        self._keys = IssuerKeys(settings, times, self._forget_withdrawn)
        self._verified: dict[bytes, _Verified] = {}
        """By the SHA-256 of the token, oldest first."""

    @property
    def away(self) -> bool:
        """Whether the issuer did not answer, or not as an issuer does, when it was last asked for its keys."""
        return self._keys.away

    def start(self) -> None:
        """Read the issuer's keys from now on, until `close`. Returns at once, also while the issuer is away."""
        self._keys.start()

    async def close(self) -> None:
        """Stop reading the keys."""
        await self._keys.close()

    async def verify(self, token: str) -> Claims:
        """What the token says of its bearer. Raises TokenRefused; IssuerAway while the token cannot be checked."""
        if len(token) > MAX_TOKEN or not token.isascii():
            SignedToken.parse(token)  # raises TokenRefused
        now = self._clock()
        digest = hashlib.sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and now < known.until:
            return known.claims
        signed = SignedToken.parse(token)
        claims = self.settings.claims_of(signed, now, self._times.leeway)
        key = await self._key_of(signed)
        if not key.verifies(signed):
            raise TokenRefused(f"the token's signature is not by the issuer {self.settings.issuer}: {SIGN_IN}")
        self._remember(digest, _Verified(claims, key, min(claims.expires_at, now + self._times.remember)))
        return claims

    async def _key_of(self, token: SignedToken) -> VerificationKey:
        """The key that the token names. Raises TokenRefused, IssuerAway."""
        key = self._keys.find(token)
        if key is None:
            await self._keys.renew()
            key = self._keys.find(token)
        if key is not None:
            return key
        if self._keys.away or not self._keys.known:
            raise IssuerAway(
                "the shop's sign-in cannot be reached right now, so this token cannot be checked; try again in a moment"
            )
        raise TokenRefused(
            f"the token names a key that the issuer {self.settings.issuer} does not publish: {SIGN_IN}; if it is new, "
            f"its key is known here in {self._times.between:g} s"
        )

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        self._verified.pop(digest, None)
        self._verified[digest] = verified
        if len(self._verified) > MAX_REMEMBERED:
            del self._verified[next(iter(self._verified))]

    def _forget_withdrawn(self) -> None:
        """Forget the tokens that were verified with keys that the issuer has withdrawn."""
        self._verified = {digest: each for digest, each in self._verified.items() if each.key in self._keys}
