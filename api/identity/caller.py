"""Who is calling: decided once for each request or socket, and passed to resolvers as a value."""

import hmac
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.identity.errors import RateLimited
from api.identity.refusals import Refusals

FREE_GUESSES = 10
"""Wrong tokens of one client that are compared without a wait. A person who mistypes needs fewer."""

GUESS_INTERVAL = 1.0
"""Seconds between two comparisons, for a client that has used its free guesses. One free guess returns every
GUESS_INTERVAL."""

MAX_GUESSERS = 10_000
"""Clients whose guesses are remembered. The client that guessed longest ago is forgotten first."""

REFUSED_TOKENS = "operator's tokens"
"""The kind under which refusals are counted."""

_BLANKS = " \t"


class Unauthenticated(Exception):
    """Only the operator may execute the operation, and the caller did not send the operator's token."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`operator`: whether the caller sent a valid operator's token. `objection`: why the caller is not the operator; it
    is the message for an operation that requires the operator."""

    operator: bool
    objection: str = ""

    def require_operator(self) -> None:
        """Raises Unauthenticated when the caller is not the operator."""
        if not self.operator:
            raise Unauthenticated(self.objection)


OPERATOR = Caller(operator=True)
_NO_TOKEN = Caller(
    operator=False,
    objection="this is for the operator: send the operator's token as the header Authorization: Bearer TOKEN "
    "(on a websocket, in connection_init's payload)",
)
_NOT_BEARER = Caller(operator=False, objection="Authorization must read: Bearer TOKEN, with the operator's token")
_WRONG_TOKEN = Caller(
    operator=False,
    objection="the token that was sent is not the operator's token of this server: it is what DROPZERO_ADMIN_TOKEN "
    "was set to when the server started, or what the server printed then",
)
_CLOSED = Caller(
    operator=False,
    objection="this is for the operator, and this server has no operator's token; "
    "set DROPZERO_ADMIN_TOKEN on the server to open it",
)


class Authenticator:
    """Checks the operator's token, and slows down clients that guess it. After FREE_GUESSES wrong tokens of a client,
    one token every GUESS_INTERVAL is compared. All other tokens are refused, right ones as well."""

    def __init__(
        self, admin_token: str | None, refusals: Refusals, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """With None as `admin_token` nobody is the operator. `clock` returns seconds."""
        self._admin_token = admin_token
        self._refusals = refusals
        self._clock = clock
        self._guessed_until: dict[str, float] = {}
        """When each client has all its free guesses again. Clients are in the order of their latest guesses."""

    def identify(self, authorization: str | None, client: str) -> Caller:
        """The caller of a request with this Authorization header, or with this value in connection_init's payload.
        Raises RateLimited when the client must wait before its next token is compared."""
        if self._admin_token is None:
            return _CLOSED
        if not authorization:
            return _NO_TOKEN
        scheme, _, token = authorization.partition(" ")
        token = token.strip(_BLANKS)
        if scheme.lower() != "bearer" or not token:
            return _NOT_BEARER
        self._require_guess(client)
        # Compared as bytes: compare_digest raises TypeError for text that is not ASCII.
        if hmac.compare_digest(token.encode(), self._admin_token.encode()):
            return OPERATOR
        self._count_guess(client)
        return _WRONG_TOKEN

    def _require_guess(self, client: str) -> None:
        """Raises RateLimited when the client has no guess left."""
        wait = self._guessed_until.get(client, -math.inf) - self._clock() - (FREE_GUESSES - 1) * GUESS_INTERVAL
        if wait > 0:
            self._refusals.count(REFUSED_TOKENS, client)
            raise RateLimited(
                "too many wrong operator's tokens came from your address: send none, or the right one in "
                f"{math.ceil(wait)} s",
                wait,
            )

    def _count_guess(self, client: str) -> None:
        self._refusals.count(REFUSED_TOKENS, client)
        now = self._clock()
        self._guessed_until[client] = max(self._guessed_until.pop(client, now), now) + GUESS_INTERVAL
        if len(self._guessed_until) > MAX_GUESSERS:
            del self._guessed_until[next(iter(self._guessed_until))]
