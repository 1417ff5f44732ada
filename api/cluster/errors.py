"""What `dropzero cluster` can end with: one line that says what was wrong and what to do."""


class ClusterError(Exception):
    """It could not be done. `status` is what the command exits with."""

    status = 1


class WrongUse(ClusterError):
    """It was asked for in a way that cannot work; nothing was sent to AWS."""

    status = 2


class Conflict(ClusterError):
    """The cluster is being changed just now."""


class NotThere(ClusterError):
    """There is no such cluster, or no longer."""
