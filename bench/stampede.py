"""A crowd: requests at a fixed rate from many addresses, sent by a process of its own, whatever the server does.

The connections are open before the first request, and each is a client with one request at a time. A request is due at
its moment, and latency counts from then on. While all clients wait for an answer, no request comes.
"""

import asyncio
import gc
import multiprocessing
import time
import uuid
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import cycle

import uvloop

from api.process import raise_file_limit

TICK = 0.002
"""Seconds between two looks at which requests are due."""

OPENING = 100
"""Connections that are opened at the same time."""

LINGER = 15.0
"""Seconds for which the answers to the last requests are awaited."""

_PURCHASE = (
    '{"query":"mutation Buy($input: PurchaseInput!) { purchase(input: $input) { status ... on PurchaseConfirmed '
    '{ order { id } } } }","variables":{"input":{"productId":"%s","userRef":"%s","idempotencyKey":"%s"}}}'
)
_READ = '{"query":"query Product($id: ID!) { product(id: $id) { id name stock } }","variables":{"id":"%s"}}'
_HEAD = b"POST /graphql HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. `reads` is how many of ten requests are reads. Each connection has an address of its own."""

    port: int
    product_id: str
    rate: int
    seconds: float
    connections: int
    reads: int


@dataclass(slots=True)
class Counts:
    """What became of the requests of one kind. Latencies are in seconds from the moment a request was due."""

    sent: int = 0
    done_under_load: int = 0
    """What was done before the last request was due."""
    done: list[float] = field(default_factory=list)
    """Latencies of confirmed purchases and of reads with data."""
    refused: list[float] = field(default_factory=list)
    """Latencies of answers 429 and 503."""
    without_time: int = 0
    """Refused requests whose answer had no Retry-After."""
    other: int = 0
    """Other answers, such as BUSY."""
    unsent: int = 0
    """Requests that did not come, because all clients waited for an answer."""

    @property
    def unanswered(self) -> int:
        """Requests that were sent and not answered."""
        return self.sent - len(self.done) - len(self.refused) - self.other


@dataclass(slots=True)
class Crowd:
    """What became of all requests. `order_ids` are those of confirmed purchases."""

    purchases: Counts = field(default_factory=Counts)
    reads: Counts = field(default_factory=Counts)
    order_ids: set[str] = field(default_factory=set)
    cpu: float = 0.0
    """Seconds of processor time of the crowd itself."""


def send(plan: Plan) -> Crowd:
    """Send the requests of a plan from a process of its own, and return what became of them."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_send, plan).result()


def _send(plan: Plan) -> Crowd:
    raise_file_limit()
    gc.disable()  # the process lives for half a minute
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Sender(plan).run())


class _Sender:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._free: deque[_Connection] = deque()
        self._waiting = 0
        self._under_load = True
        self._prefix = uuid.uuid4().hex[:8]
        self._number = 0
        read = (_READ % plan.product_id).encode()
        self._read = _HEAD % len(read) + read
        self.crowd = Crowd()

    async def run(self) -> Crowd:
        await self._connect()
        cpu = time.process_time()
        kinds = cycle([position < self._plan.reads for position in (0, 5, 2, 7, 4, 9, 1, 6, 3, 8)])
        start, sent, total = time.perf_counter(), 0, int(self._plan.rate * self._plan.seconds)
        while sent < total:
            now = time.perf_counter()
            while sent < total and start + sent / self._plan.rate <= now:
                self._offer(start + sent / self._plan.rate, next(kinds))
                sent += 1
            await asyncio.sleep(TICK)
        self._under_load = False
        end = time.perf_counter() + LINGER
        while self._waiting > 0 and time.perf_counter() < end:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.05)
        self.crowd.cpu = time.process_time() - cpu
        return self.crowd

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        limit = asyncio.Semaphore(OPENING)

        async def connect(number: int) -> None:
            local = (f"127.1.{number // 250}.{number % 250 + 1}", 0)
            async with limit:
                await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._plan.port, local_addr=local)

        await asyncio.gather(*(connect(number) for number in range(self._plan.connections)))

    def free(self, connection: "_Connection") -> None:
        """Keep a connection for a next request."""
        self._free.append(connection)

    def answered(self, connection: "_Connection", answer: bytes) -> None:
        """Count an answer."""
        counts = self.crowd.reads if connection.reads else self.crowd.purchases
        latency = time.perf_counter() - connection.due
        self._waiting -= 1
        status = answer[9:12]
        if status in (b"429", b"503"):
            counts.refused.append(latency)
            counts.without_time += b"\r\nretry-after: " not in answer
        elif b'"CONFIRMED"' in answer or (connection.reads and b'"stock"' in answer):
            counts.done.append(latency)
            counts.done_under_load += self._under_load
        else:
            counts.other += 1
        if b'"CONFIRMED"' in answer:
            self.crowd.order_ids.add(answer.partition(b'"id":"')[2][:36].decode())

    def _offer(self, due: float, reads: bool) -> None:
        if self._free:
            self._send(self._free.popleft(), due, reads)
        else:
            (self.crowd.reads if reads else self.crowd.purchases).unsent += 1

    def _send(self, connection: "_Connection", due: float, reads: bool) -> None:
        self._waiting += 1
        (self.crowd.reads if reads else self.crowd.purchases).sent += 1
        if reads:
            request = self._read
        else:
            self._number += 1
            buyer = f"{self._prefix}-{self._number}"
            body = (_PURCHASE % (self._plan.product_id, buyer, buyer)).encode()
            request = _HEAD % len(body) + body
        connection.send(due, reads, request)


class _Connection(asyncio.Protocol):
    def __init__(self, sender: _Sender) -> None:
        self._sender = sender
        self._received = b""
        self.due = 0.0
        self.reads = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._sender.free(self)

    def send(self, due: float, reads: bool, request: bytes) -> None:
        self.due, self.reads = due, reads
        self._transport.write(request)  # type: ignore[attr-defined]  # a transport that also writes

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._received.endswith(b"}"):  # of the body, which is JSON: uvicorn sends head and body apart
            answer, self._received = self._received, b""
            self._sender.answered(self, answer)
            if not self._transport.is_closing():
                self._sender.free(self)
