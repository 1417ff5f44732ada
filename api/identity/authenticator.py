"""The authenticator: finds out who is calling, by the token that was sent."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Protocol

from api.identity.allowance import Allowance
from api.identity.caller import ANONYMOUS, OPERATOR, Caller, Role, buyer, operator
from api.identity.claims import Claims, IssuerAway, TokenRefused
from api.identity.errors import Forbidden, RateLimited
from api.identity.guests import EXPIRED, SUBJECT_PREFIX, GuestToken, GuestTokens
from api.identity.guests import ISSUER as GUESTS
from api.identity.operator_tokens import OperatorTokens
from api.identity.refusals import Refusals
from api.identity.signed_token import MAX_TOKEN
from api.identity.unverified import Unverified, read_unverified

FREE_GUESSES = 10
"""Wrong tokens of one client that are compared without a wait. A person who mistypes needs fewer."""

GUESS_INTERVAL = 1.0
"""Seconds between two comparisons, for a client that has used its free guesses. One free guess returns every
GUESS_INTERVAL."""

FREE_GUESTS = 60
"""Guest tokens of one address at once: as many buyers as may open the shop behind one address in the same minute. A
limit per buyer is passed by new guests, so more would make limits mean less."""

GUEST_INTERVAL = 1.0
"""Seconds in which an address may get one more guest token, when it has used its free ones."""

MAX_KEPT = 20_000
"""Tokens whose callers are kept, about 600 bytes each. The token that was sent longest ago is forgotten first."""

LEEWAY = 30.0
"""Seconds that the issuer's clock may differ from ours."""

REFUSED_TOKENS = "operator's tokens"
"""The kind under which refused operator's tokens are counted."""

REFUSED_BUYERS = "buyers' tokens"
"""The kind under which refused tokens of buyers are counted."""

REFUSED_GUESTS = "new guests"
"""The kind under which guest tokens are counted that an address wanted past its allowance."""

_BLANKS = " \t"

_NOT_BEARER = "Authorization must read: Bearer TOKEN, with the operator's token or a buyer's"
_WRONG = (
    "the token that was sent is not the operator's token of this server: it is what DROPZERO_ADMIN_TOKEN "
    "was set to when the server started, or what the server printed then"
)
_NOBODYS = "the token that was sent is no token of this shop; sign in again and send the new one"
_EXPIRED = "the token that was sent has expired; sign in again and send the new one"
_TOO_LONG = f"the token that was sent is too long; send one of at most {MAX_TOKEN} characters"
_UNKNOWN_ISSUER = "this server does not know the issuer of the token that was sent; send a token of this shop"
_TAKEN_SUBJECT = f"the token that was sent names a subject that begins with {SUBJECT_PREFIX}, as only guests' may"


class Verifier(Protocol):
    """The shop's issuer."""

    async def verify(self, token: str) -> Claims:
        """What a token says. Raises TokenRefused, IssuerAway."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A token that was verified: what it says, and its caller."""

    claims: Claims
    caller: Caller


class Authenticator:
    """Finds the caller of each request. A JWT with the issuer of guests is verified by the guests' keys, and any other
    JWT by the shop's issuer. Any other token is an operator's.

    A client that guesses is slowed down. After FREE_GUESSES wrong tokens of a client, one of its operator's tokens is
    compared every GUESS_INTERVAL, and all others are refused, right ones as well. A JWT is always verified, since its
    signature cannot be guessed: a neighbour's wrong tokens must not keep a buyer out. But a client that has used its
    guesses gets RateLimited for a wrong one.
    """

    def __init__(
        self,
        operators: OperatorTokens,
        refusals: Refusals,
        *,
        guests: GuestTokens | None = None,
        issuer: Verifier | None = None,
        open_to_anyone: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`guests` is None for a server that signs no guest tokens, and `issuer` for a shop without one.
        `open_to_anyone`: anonymous callers may name any buyer. `clock` returns seconds, and `now` seconds since
        1970."""
        self._operators = operators
        self._refusals = refusals
        self._guests = guests
        self._issuer = issuer
        self._now = now
        self._guesses = Allowance(FREE_GUESSES, GUESS_INTERVAL, clock)
        self._new_guests = Allowance(FREE_GUESTS, GUEST_INTERVAL, clock)
        self._kept: dict[bytes, _Kept] = {}
        """Callers by the SHA-256 of their tokens, in the order in which the tokens were last sent. Operators are not
        kept: a guess that is found here would not be slowed down."""
        closed = not len(operators) and issuer is None
        self._anonymous = replace(ANONYMOUS, names_any_buyer=open_to_anyone, closed=closed)
        self._not_bearer = replace(self._anonymous, objection=_NOT_BEARER)
        self._wrong_token = replace(self._anonymous, objection=_WRONG)

    async def identify(self, authorization: str | None, client: str) -> Caller:
        """The caller of a request with this Authorization header, or with this value in connection_init's payload.
        `client` is where the request came from. Raises RateLimited when the client must wait."""
        if not authorization:
            return self._anonymous
        scheme, _, token = authorization.partition(" ")
        token = token.strip(_BLANKS)
        if scheme.lower() != "bearer" or not token:
            return self._not_bearer
        if len(token) > MAX_TOKEN:
            return self._refused(_TOO_LONG)
        digest = sha256(token.encode()).digest()
        kept = self._kept.pop(digest, None)
        if kept is not None and await self._still_says(token, kept.claims):
            self._keep(digest, kept)
            return kept.caller
        unverified = read_unverified(token)
        if unverified is None:
            return self._operator_of(token, client)
        return await self._bearer_of(token, digest, unverified, client)

    def new_guest(self, client: str, request: str | None = None) -> GuestToken:
        """A token for a new guest of this client; for `request` see GuestTokens.issue. Raises RateLimited, and
        Forbidden when the server signs none."""
        if self._guests is None:
            raise Forbidden("this server has no guests; set DROPZERO_GUEST_KEY on the server to let buyers be guests")
        wait = self._new_guests.wait(client)
        if wait > 0:
            self._refusals.count(REFUSED_GUESTS, client)
            message = "too many guest tokens went to your address: keep the one you have, or try again in"
            raise RateLimited(f"{message} {math.ceil(wait)} s", wait)
        self._new_guests.use(client)
        return self._guests.issue(self._now(), request)

    def _operator_of(self, token: str, client: str) -> Caller:
        if not len(self._operators):
            return replace(self._anonymous, objection=_NOBODYS)
        wait = self._guesses.wait(client)
        if wait > 0:
            self._refusals.count(REFUSED_TOKENS, client)
            raise _too_many_guesses(wait)
        name = self._operators.find(token)
        if name is None:
            self._refusals.count(REFUSED_TOKENS, client)
            self._guesses.use(client)
            return self._wrong_token
        return operator(name, OPERATOR.roles)

    async def _bearer_of(self, token: str, digest: bytes, unverified: Unverified, client: str) -> Caller:
        """The caller of a JWT that was not sent before."""
        name = self._operators.find(token)
        if name is not None:
            return operator(name, OPERATOR.roles)
        # A token is expired if it says so itself. That is no guess: a shop's page sends its token until it notices.
        leeway, expired = (0.0, EXPIRED) if unverified.issuer == GUESTS else (LEEWAY, _EXPIRED)
        if unverified.expires_at is not None and unverified.expires_at <= self._now() - leeway:
            return self._refused(expired)
        try:
            claims = await self._verified(token, unverified.issuer)
        except IssuerAway as away:
            return replace(self._refused(str(away)), issuer_away=True)
        except TokenRefused as refused:
            self._refusals.count(REFUSED_BUYERS, client)
            wait = self._guesses.wait(client)
            if wait > 0:
                raise _too_many_guesses(wait) from None
            self._guesses.use(client)
            return self._refused(str(refused))
        kept = _Kept(claims, _caller_of(claims))
        self._keep(digest, kept)
        return kept.caller

    def _keep(self, digest: bytes, kept: _Kept) -> None:
        self._kept[digest] = kept
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]

    async def _still_says(self, token: str, claims: Claims) -> bool:
        """Whether a token that has said this before is still valid. The issuer is asked again: it remembers the token
        too, and forgets it with the key that it was signed with."""
        if claims.guest:
            return self._now() < claims.expires_at
        try:
            return self._issuer is not None and await self._issuer.verify(token) == claims
        except (TokenRefused, IssuerAway):
            return False  # it is verified once more, for the reason

    async def _verified(self, token: str, issuer: str) -> Claims:
        """What a JWT says. Raises TokenRefused, IssuerAway."""
        if issuer == GUESTS and self._guests is not None:
            return self._guests.verify(token, self._now())
        if issuer == GUESTS or self._issuer is None:
            raise TokenRefused(_UNKNOWN_ISSUER)
        claims = await self._issuer.verify(token)
        if claims.subject.startswith(SUBJECT_PREFIX):
            raise TokenRefused(_TAKEN_SUBJECT)
        return claims

    def _refused(self, objection: str) -> Caller:
        """The caller of a buyer's token that is not valid. It names no buyer, not even on a laptop: the purchase would
        be another buyer's than the one that the token was for."""
        return replace(self._anonymous, objection=objection, names_any_buyer=False)


def _caller_of(claims: Claims) -> Caller:
    roles = frozenset(role for role in Role if role in claims.roles)
    if roles:
        return operator(claims.subject, roles, claims.subject, claims.expires_at)
    return buyer(claims.subject, guest=claims.guest, expires_at=claims.expires_at)


def _too_many_guesses(wait: float) -> RateLimited:
    message = f"too many wrong tokens came from your address: send none, or the right one in {math.ceil(wait)} s"
    return RateLimited(message, wait)
