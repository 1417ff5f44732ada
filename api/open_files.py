"""A line in the log while a process can open no more files.

uvloop then accepts and closes every new connection, without a callback and without a line in the log. Clients see a
reset.
"""

import errno
import logging
import os
import time
from collections.abc import Callable

logger = logging.getLogger("dropzero.server")

_SILENCE = 60.0
"""Seconds between two lines about the same shortage."""


class OpenFiles:
    """Checks whether this process can open another file, by opening one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` in seconds."""
        self._clock = clock
        self._silent_until = float("-inf")

    def check(self) -> None:
        """Log an error if no file can be opened, at most once a minute."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and self._clock() >= self._silent_until:
                self._silent_until = self._clock() + _SILENCE
                logger.error(
                    "%s: new connections are closed at once; allow this process more files (ulimit -n), or bound "
                    "DROPZERO_SOCKETS and the connections that a proxy keeps",
                    error.strerror,
                )
