"""Measures how late this process resumes a task that waits for the network, while the process does its work."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

INTERVAL = 0.01
"""Seconds between two samples. A p99 takes a hundred samples, and each second has as many."""

_STAMP = struct.Struct("d")


@asynccontextmanager
async def sampled_lateness() -> AsyncIterator[list[float]]:
    """Yield a list that gets a sample per INTERVAL until the block is left: milliseconds that this event loop was late.

    When a sample is due, a thread sends a byte string through a socket, and a task reads it as every buyer reads an
    answer. The sample is the time from when it was due to when the task resumed. An answer that had arrived at the due
    moment would have waited as long for this process. A timer of the event loop would not do: it fires up to 1 ms late,
    and no answer does. When the loop is blocked for a second, the samples of that second follow afterwards, each with
    its own lateness.

    A sample counts from when it was due, not from when the thread sent it. So the samples also show when the whole
    process was stopped, such as one that had used up its container's share of CPU time. Where processes wait for the
    CPU, a sample waits twice, in the thread and in the task; an answer waits once.
    """
    late: list[float] = []
    sending, receiving = socket.socketpair()
    stop = threading.Event()
    reader, writer = await asyncio.open_connection(sock=receiving)
    thread = threading.Thread(target=_send_when_due, args=(sending, stop), name="lateness", daemon=True)
    task = asyncio.create_task(_read(reader, late))
    thread.start()
    try:
        yield late
    finally:
        stop.set()
        task.cancel()
        writer.transport.abort()  # ends a send of the thread that nothing will read
        await asyncio.to_thread(thread.join)
        sending.close()


def _send_when_due(sending: socket.socket, stop: threading.Event) -> None:
    due = time.perf_counter() + INTERVAL
    with suppress(OSError):
        while not stop.wait(max(0.0, due - time.perf_counter())):
            sending.sendall(_STAMP.pack(due))
            due += INTERVAL


async def _read(reader: asyncio.StreamReader, late: list[float]) -> None:
    while True:
        stamp = await reader.readexactly(_STAMP.size)
        late.append((time.perf_counter() - _STAMP.unpack(stamp)[0]) * 1000)
