"""Why a request cannot be carried out, however often it is sent. Each message says what to do instead.

A business outcome, such as sold out, is no error: see `api.drops.purchase`.
"""


class DropError(Exception):
    """The base of everything here, so that one handler can tell a client's mistake from a defect of ours."""


class InvalidInput(DropError):
    """A value that can never work."""


class NotFound(DropError):
    """The product or order that was named does not exist."""


class Forbidden(DropError):
    """The caller is known and may not do this."""


class IdempotencyKeyReused(DropError):
    """The same key was used before for a purchase of another quantity."""
