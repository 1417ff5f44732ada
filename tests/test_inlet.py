"""Input that is free for a client, and input that waits for its turns."""

import asyncio
from collections.abc import Callable
from time import thread_time

from api.app import create_admission
from api.identity.turns import LENGTH
from api.inlet import Inlet
from api.settings import read_settings
from tests.patience import until


class Wire(asyncio.Transport):
    """A transport that records whether it is read."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.reading = True
        self.aborted = False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


class Parser(asyncio.Protocol):
    """A protocol that calls a function for each piece."""

    arrived = 0
    reading_paused = False

    def __init__(self, read: Callable[["Parser"], None]) -> None:
        self._read = read

    def data_received(self, data: bytes) -> None:
        self._read(self)


def work(seconds: float) -> None:
    end = thread_time() + seconds
    while thread_time() < end:
        pass


def opened(read: Callable[[Parser], None]) -> tuple[Inlet, Wire]:
    wire = Wire()
    inlet = Inlet(Parser(read), create_admission(read_settings({})))
    inlet.connection_made(wire)
    return inlet, wire


def send(inlet: Inlet) -> None:
    """Deliver a piece of one byte."""
    inlet.get_buffer(-1)[:1] = b"a"
    inlet.buffer_updated(1)


async def test_input_that_takes_a_turns_time_waits_for_its_turn() -> None:
    inlet, wire = opened(lambda _: work(LENGTH))

    send(inlet)

    assert not wire.reading
    await until(lambda: wire.reading)


async def test_a_message_among_costly_input_does_not_pay_for_it() -> None:
    def read(parser: Parser) -> None:
        work(0.9 * LENGTH)
        parser.arrived += 1

    inlet, wire = opened(read)

    for _ in range(3):
        send(inlet)

    assert not wire.reading


async def test_messages_alone_never_wait() -> None:
    def read(parser: Parser) -> None:
        parser.arrived += 1

    inlet, wire = opened(read)

    for _ in range(1_000):
        send(inlet)

    assert wire.reading


async def test_a_connection_is_cut_when_its_protocol_fails_on_input_that_waited() -> None:
    pieces: list[str] = ["costly", "bad"]

    def read(_: Parser) -> None:
        if pieces.pop(0) == "bad":
            raise ZeroDivisionError
        work(LENGTH)

    inlet, wire = opened(read)
    failures: list[BaseException] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    try:
        send(inlet)
        send(inlet)  # the protocol has resumed reading
        await until(lambda: wire.aborted)
    finally:
        loop.set_exception_handler(None)
        inlet.connection_lost(None)

    assert [type(failure) for failure in failures] == [ZeroDivisionError]
