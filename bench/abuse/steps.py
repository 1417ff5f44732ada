"""A server that records the longest steps of its event loop: `dropzero` on plain asyncio, with every callback timed.

    python -P bench/abuse/steps.py FILE serve --port 8000

uvloop's callbacks cannot be timed. A step is the CPU time of one callback; the garbage collector's share of it is
recorded apart. SIGUSR1 starts a new record, SIGUSR2 writes FILE as JSON. This module imports nothing of `bench`, so
that it can run the server of another checkout.
"""

import asyncio
import gc
import heapq
import json
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

WORTH_A_NOTE = 0.0002
"""Seconds. Shorter steps are only counted."""

KEPT = 10
SAMPLE_INTERVAL = 0.001
"""Seconds of CPU time between two samples of the stack, from which a long step gets its name."""


class Steps:
    """The longest steps since the last SIGUSR1."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._collecting_since = 0.0
        self._collecting = 0.0
        self._samples: Counter[str] = Counter()
        self.clear()

    def clear(self, *_: object) -> None:
        self._count = self._over_5_ms = 0
        self._total = 0.0
        self._longest_collection = 0.0
        self._longest: list[tuple[float, int, dict[str, Any]]] = []

    def install(self) -> None:
        """Time every callback of every event loop of this process from now on."""
        run, clock = asyncio.Handle._run, time.thread_time

        def timed(handle: asyncio.Handle) -> None:
            self._samples.clear()
            collected, begun = self._collecting, clock()
            callback = handle._callback  # type: ignore[attr-defined]
            run(handle)
            took = clock() - begun
            self._note(callback, took, self._collecting - collected)

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self._collection)
        signal.signal(signal.SIGUSR1, self.clear)
        signal.signal(signal.SIGUSR2, self.write)
        signal.signal(signal.SIGPROF, self._sample)
        signal.setitimer(signal.ITIMER_PROF, SAMPLE_INTERVAL, SAMPLE_INTERVAL)

    def write(self, *_: object) -> None:
        """Write the record to the file, as a whole or not at all."""
        found = [entry for *_, entry in sorted(self._longest, key=lambda entry: -entry[0])]
        report = {
            "steps": self._count,
            "over_5_ms": self._over_5_ms,
            "seconds": round(self._total, 3),
            "longest_collection_ms": round(self._longest_collection * 1000, 2),
            "longest": found,
        }
        unfinished = self._path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(report), encoding="utf-8")
        unfinished.replace(self._path)

    def _note(self, callback: object, took: float, collecting: float) -> None:
        own = took - collecting
        self._count += 1
        self._total += own
        self._over_5_ms += own > 0.005
        if own < WORTH_A_NOTE or (len(self._longest) == KEPT and own <= self._longest[0][0]):
            return
        entry = {
            "ms": round(own * 1000, 2),
            "collecting_ms": round(collecting * 1000, 2),
            "callback": callback_name(callback),
            "in": [name for name, _ in self._samples.most_common(3)],
        }
        (heapq.heappush if len(self._longest) < KEPT else heapq.heapreplace)(self._longest, (own, self._count, entry))

    def _collection(self, phase: str, _: dict[str, int]) -> None:
        now = time.thread_time()
        if phase == "start":
            self._collecting_since = now
        else:
            took = now - self._collecting_since
            self._collecting += took
            self._longest_collection = max(self._longest_collection, took)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        """Record the innermost function that ran, and the innermost function of the server."""
        innermost = frame.f_code if frame is not None else None
        while frame is not None and not _is_own(frame.f_code):
            frame = frame.f_back
        if innermost is not None:
            own = f"{code_name(frame.f_code)} > " if frame is not None and frame.f_code is not innermost else ""
            self._samples[own + code_name(innermost)] += 1


def callback_name(callback: object) -> str:
    """A callback's name: the coroutine of a task, or else the function."""
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine = owner.get_coro()
        return f"task {getattr(coroutine, '__qualname__', coroutine)}"
    if type(owner).__name__ == "Context":  # of contextvars
        return "call in a context"
    return str(getattr(callback, "__qualname__", callback))


def code_name(code: CodeType) -> str:
    parts = Path(code.co_filename).parts
    return f"{'/'.join(parts[-2:])}:{code.co_qualname}"


def _is_own(code: CodeType) -> bool:
    return "/api/" in code.co_filename and "site-packages" not in code.co_filename


def main() -> None:
    path = Path(sys.argv.pop(1))
    # Before anything imports asyncio's policies: uvicorn uses uvloop if it can be imported.
    sys.modules["uvloop"] = None  # type: ignore[assignment]
    Steps(path).install()
    from api.__main__ import main as run

    sys.argv[0] = "dropzero"
    os.environ.pop("PYTHONASYNCIODEBUG", None)  # the debug mode runs other code than is measured
    run()


if __name__ == "__main__":
    main()
