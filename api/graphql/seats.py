"""Seats: how many connections may stay open in one process, whether or not they ask for anything."""

from collections.abc import Iterator
from contextlib import contextmanager


class NoSeat(Exception):
    """As many connections stay open as the process takes; the message says so."""


class Seats:
    """The places for sockets and event streams of one process."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.taken = 0

    @contextmanager
    def take(self) -> Iterator[None]:
        """A seat for the time of the block. Raises NoSeat."""
        if self.taken >= self.number:
            raise NoSeat(f"All {self.number} places of this server are taken; try again later")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
