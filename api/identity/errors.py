"""The errors that a client gets because of its own share."""


class RateLimited(Exception):
    """The client has used its share while others wait. The message names the share. `retry_after` is the number of
    seconds after which the client can send again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
