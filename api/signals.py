"""SIGINT and SIGTERM for the command that serves: they unwind the stack, they wait, or they cancel a coroutine.

`ServingProcess` and `Workers` handle signals by themselves while they run. From their end on signals wait until the
embedded database has stopped, so that nothing interrupts what stops it.
"""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import NoReturn

STOPPING = (signal.SIGINT, signal.SIGTERM)


class BrokenOff(Exception):
    """A second Ctrl-C ended the server; what is left is to end the process with os._exit.

    Keep the exception until then. It holds the event loop, whose tasks do not run again: were they cancelled or
    collected, each would run its cleanup and write why it ended.
    """

    def __init__(self, runner: asyncio.Runner | None = None) -> None:
        super().__init__("told to stop a second time")
        self.runner = runner


def hold_signals() -> None:
    """Let SIGINT and SIGTERM wait, until `release_signals` or the end of the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def release_signals() -> None:
    """Let SIGINT and SIGTERM through again; one that waited is handled now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def unwind_on_signals() -> None:
    """Let SIGINT and SIGTERM unwind the stack, so that the embedded database is stopped."""
    for number in STOPPING:
        signal.signal(number, _unwind)


def _unwind(number: int, frame: FrameType | None) -> None:
    hold_signals()  # a second one would interrupt the unwinding
    end_as_signalled(number)


def end_as_signalled(number: int) -> NoReturn:
    """End a command as the signal is expected to: SIGINT with status 130, SIGTERM with 0."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(0)


def run_until_signal(main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine function to its end. A signal cancels it, and then ends the command."""
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
