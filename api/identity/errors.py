"""The error for a client that has used its share of the server."""


class RateLimited(Exception):
    """The client has used its share while others wait. The message names the share. `retry_after` is the number of
    seconds after which the client can send again."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after
