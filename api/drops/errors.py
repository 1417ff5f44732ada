"""Errors of requests that can never be executed, however often they are sent. Each message says why.

A business outcome, such as sold out, is no error: see `api.drops.decisions`.
"""


class DropError(Exception):
    """The base of these errors, so that one handler separates clients' mistakes from defects."""


class InvalidInput(DropError):
    """A value that can never work."""

    field: str | None = None
    """The value's name in the schema, such as `quantity`, with a dotted path below it where it is an object, such as
    `price.amount`; None where the error is about no single value."""

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class NotFound(DropError):
    """The named product or order does not exist."""


class IdempotencyKeyReused(DropError):
    """The same key was used before for a purchase of another quantity."""


class StaleRevision(DropError):
    """The product has been changed since its revision was read."""


class AlreadyConfirmed(DropError):
    """The order has been confirmed without this payment, which has to be refunded."""
