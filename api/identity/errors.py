"""The errors that a client gets because of who it is."""


class RateLimited(Exception):
    """The client has used its share while others wait. The message says what ran out; `retry_after` is the time to
    come back, in seconds."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
