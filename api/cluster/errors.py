"""The errors of `dropzero cluster`: each message is one line that says what was wrong and what to do."""


class ClusterError(Exception):
    """The command failed. `status` is its exit status."""

    status = 1


class WrongUse(ClusterError):
    """The command was used in a way that cannot work; nothing was changed."""

    status = 2


class Conflict(ClusterError):
    """The cluster is being changed right now."""


class NotThere(ClusterError):
    """There is no such cluster, or it has been deleted."""
