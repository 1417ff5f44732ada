"""SIGINT and SIGTERM in `dropzero serve`: a signal unwinds the stack, waits, or cancels a coroutine.

`ServingProcess` and `Workers` handle signals while they run. After them signals wait until the embedded database has
stopped, so that no signal interrupts its stop.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM)


class BrokenOff(Exception):
    """A second Ctrl-C ended the server. The process has to end with os._exit.

    Keep the exception until then: it holds the event loop, whose tasks must not run again. If they were cancelled or
    collected, each would run its cleanup and print why it ended.
    """

    def __init__(self, runner: asyncio.Runner | None = None) -> None:
        super().__init__("signalled to stop a second time")
        self.runner = runner


def hold_signals() -> None:
    """Hold SIGINT and SIGTERM back until `release_signals` or the end of the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def release_signals() -> None:
    """Let SIGINT and SIGTERM through again. A signal that was held arrives at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def unwind_on_signals() -> None:
    """Let SIGINT and SIGTERM unwind the stack, so that context managers stop the embedded database."""
    for number in STOPPING:
        signal.signal(number, _unwind)


def _unwind(number: int, frame: FrameType | None) -> None:
    hold_signals()  # a second signal would interrupt the unwinding
    end_as_signalled(number)


def end_as_signalled(number: int) -> NoReturn:
    """End the command with the status of the signal: 130 for SIGINT, 0 for SIGTERM."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(0)


def run_until_signal(main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine function to its end. A signal cancels it and ends the command."""
    signals: list[int] = []

    async def run() -> None:
        task = asyncio.create_task(main())
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            loop.call_soon_threadsafe(task.cancel)

        for number in STOPPING:
            signal.signal(number, stop)
        await asyncio.wait([task])
        unwind_on_signals()
        if not signals:
            task.result()

    asyncio.run(run())
    if signals:
        end_as_signalled(signals[0])
