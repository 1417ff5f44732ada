"""Errors of who is calling: not known, not allowed, or past the client's share of the server."""

from typing import ClassVar


class RateLimited(Exception):
    """The client has used its share while others wait. The message names the share. `retry_after` is the number of
    seconds after which the client can send again."""

    status: ClassVar[int] = 429
    """Of an answer over HTTP."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(RateLimited):
    """More requests wait than this process can answer in time, whichever client sends one more. A load balancer may
    send a request that was answered 503 to another server."""

    status: ClassVar[int] = 503


class Unauthenticated(Exception):
    """The operation needs a caller that is known, and this caller is not. The message says what to send."""


class Forbidden(Exception):
    """The caller is known and has no right to the operation. The message says who has."""


class BuyerMissing(Exception):
    """The request names no buyer, and its caller is none. The message says what to send."""
