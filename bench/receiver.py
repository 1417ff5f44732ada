"""A receiver of webhooks, in a process of its own: takes every event, and counts how late each came.

    python -m bench.receiver

Prints its port, and once its standard input ends a line of JSON: the seconds from each event's transaction to its
arrival, and how many different events there were. It parses as little as it can, to leave the machine to the servers.
"""

import asyncio
import sys
import time
from contextlib import suppress
from datetime import datetime
from functools import partial

import orjson

_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """What has arrived."""

    def __init__(self) -> None:
        self.lags: list[float] = []
        self.ids: set[bytes] = set()

    def take(self, head: bytes, body: bytes) -> None:
        occurred_at = datetime.fromisoformat(orjson.loads(body)["timestamp"]).timestamp()
        self.lags.append(time.time() - occurred_at)
        self.ids.add(_header(head, b"webhook-id"))


async def serve(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection until it ends."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            receiver.take(head, await reader.readexactly(int(_header(head, b"content-length"))))
            writer.write(_ANSWER)
    writer.close()


def _header(head: bytes, name: bytes) -> bytes:
    return head.split(name + b":")[1].split(b"\r\n")[0].strip()


async def main() -> None:
    loop = asyncio.get_running_loop()
    receiver = Receiver()
    server = await asyncio.start_server(partial(serve, receiver), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(orjson.dumps({"lags": receiver.lags, "events": len(receiver.ids)}).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
