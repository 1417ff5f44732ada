"""How late this process resumes what waits for the network, measured while it does its work."""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

INTERVAL = 0.01
"""Seconds between two samples: a hundred of them, which a p99 takes, in each second."""

_STAMP = struct.Struct("d")


@asynccontextmanager
async def sampled_lateness() -> AsyncIterator[list[float]]:
    """A list that gets a sample per INTERVAL until the block is left: milliseconds that this event loop was late.

    A thread sends a byte string through a socket when a sample is due, and a task reads it as every buyer reads an
    answer. The sample is the time from when it was due to when the task resumed: what an answer that had arrived at
    that moment would have waited for this process. A timer of the event loop would not do: it wakes up to 1 ms late,
    which no answer does. A loop that is blocked for a second gets all the samples of that second afterwards, each with
    its own lateness.

    A sample counts from when it was due, and not from when the thread sent it, so that a process that was stopped as a
    whole is seen as well, such as one that has used up its share of a container's processor time. Where processes wait
    for the processor, the sample has waited for it once more than an answer: in the thread.
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
        writer.transport.abort()  # a thread whose samples nobody reads any more must not wait for that
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
