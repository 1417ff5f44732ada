"""Who is calling: decided here once per request or socket, and handed to resolvers as a value."""

import hmac
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from api.identity.errors import RateLimited
from api.identity.refusals import Refusals

FREE_GUESSES = 10
"""Wrong tokens of one client that are compared as fast as they come. A person who mistypes needs fewer."""

GUESS_INTERVAL = 1.0
"""Seconds until the next comparison, for a client that has used its free guesses. One free guess comes back in each."""

MAX_GUESSERS = 10_000
"""Clients whose guesses are remembered; the client that guessed longest ago is forgotten first."""

REFUSED_TOKENS = "operator's tokens"
"""The kind of refusals."""

_BLANKS = " \t"


class Unauthenticated(Exception):
    """The operation is the operator's, and the caller did not show to be the operator."""


@dataclass(frozen=True, slots=True)
class Caller:
    """`operator`: a valid operator's token was shown. `objection`: why not, for those who ask for more."""

    operator: bool
    objection: str = ""

    def require_operator(self) -> None:
        """Raises Unauthenticated."""
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
    """Knows the operator's token, and slows clients that guess it: after FREE_GUESSES wrong tokens of a client, one
    token in GUESS_INTERVAL is compared, and every other is refused, be it right or wrong."""

    def __init__(
        self, admin_token: str | None, refusals: Refusals, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`admin_token` is None when there is none, and then nobody is the operator. `clock` in seconds."""
        self._admin_token = admin_token
        self._refusals = refusals
        self._clock = clock
        self._guessed_until: dict[str, float] = {}
        """When each client has all its free guesses again, in the order of their latest guesses."""

    def identify(self, authorization: str | None, client: str) -> Caller:
        """The caller that an Authorization header of this client, or its like in connection_init, stands for. Raises
        RateLimited."""
        if self._admin_token is None:
            return _CLOSED
        if not authorization:
            return _NO_TOKEN
        scheme, _, token = authorization.partition(" ")
        token = token.strip(_BLANKS)
        if scheme.lower() != "bearer" or not token:
            return _NOT_BEARER
        self._require_guess(client)
        # Compared as bytes: compare_digest refuses text that is not ASCII.
        if hmac.compare_digest(token.encode(), self._admin_token.encode()):
            return OPERATOR
        self._count_guess(client)
        return _WRONG_TOKEN

    def _require_guess(self, client: str) -> None:
        """Raises RateLimited."""
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
