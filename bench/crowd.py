"""The crowd of an opening, in a process of its own: each client loads the page, buys a unit, and watches the stock."""

import asyncio
import gc
import ipaddress
import math
import multiprocessing
import random
import resource
import socket
import time
import uuid
from array import array
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson
import uvloop

from api.process import raise_file_limit
from api.storefront.pages import documents
from bench.operations import PAGE
from bench.shopper import BadAnswer, Shopper, request_bytes
from bench.watching_socket import Watch, WatchingSocket

T = TypeVar("T")
P = TypeVar("P", bound=asyncio.Protocol)

PRODUCTS = 100
"""Products on the page."""

PURCHASE = next(text for text in documents() if text.startswith("mutation Buy"))
STOCK = next(text for text in documents() if text.startswith("subscription Watch"))
"""The mutation and the subscription that the storefront sends."""

MEAN_ARRIVAL = 1.5
"""Seconds after the opening, of an exponential distribution: half of the clients come in the first second."""

LAST_ARRIVAL = 9.0
"""Seconds after the opening at which the last client comes at the latest."""

FIRST_ADDRESS = ipaddress.IPv4Address("127.1.0.1")
"""Each client comes from an address of its own, the next one of Linux's loopback network."""

PATIENCE = 60.0
"""Seconds that a client waits for all its answers. It is longer than what is judged, so that a late answer is a late
answer and not a missing one."""

READY_TIMEOUT = 60.0
SETTLE_TIMEOUT = 20.0


@dataclass(frozen=True)
class Visit:
    """What the clients do. `opening` is a time of time.perf_counter(), which is one clock for all processes of a
    machine."""

    url: str
    product_id: str
    opening: float
    tokens: Sequence[str] = field(repr=False)
    """A guest's token for each client, made before the opening."""
    early: int = 0
    """Clients that come before the opening as well, when they cannot buy. What they see then does not count."""


@dataclass
class Seen:
    """What the clients saw. Latencies are in seconds: of a page from the moment when the client was to come, of a
    purchase from its first request, of the first stock from the opening of the socket."""

    pages: "array[float]" = field(default_factory=lambda: array("d"))
    purchases: "array[float]" = field(default_factory=lambda: array("d"))
    first_stocks: "array[float]" = field(default_factory=lambda: array("d"))
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    order_ids: set[str] = field(default_factory=set)
    busy: int = 0
    """Answers BUSY, after each of which the purchase was sent again."""
    last_answer: float = 0.0
    """Seconds from the opening to the last outcome of a purchase."""
    last_stocks: Counter[int] = field(default_factory=Counter)
    """The last stock that each watcher saw, of those that saw one."""
    messages: int = 0
    latest_start: float = 0.0
    """The most seconds by which a client came later than it was to come, because this process was busy."""
    cpu_seconds: float = 0.0
    peak_mib: float = 0.0


def arrivals(clients: int) -> list[float]:
    """Seconds after the opening at which each client comes: the quantiles of the distribution."""
    quantiles = ((number + 0.5) / clients for number in range(clients))
    return [min(LAST_ARRIVAL, -MEAN_ARRIVAL * math.log1p(-quantile)) for quantile in quantiles]


@contextmanager
def crowd(visit: Visit) -> Iterator[Callable[[], Seen]]:
    """Start the process, and wait until it is ready for the opening. Yields a function that returns what the clients
    saw, when all of them have their answers. Ends the bench when the process is ready only after the opening."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, visit), daemon=True)
    process.start()
    theirs.close()

    def received(seconds: float) -> Any:
        if not ours.poll(seconds):
            raise SystemExit(f"the crowd did not answer within {seconds:g} s")
        return ours.recv()

    def seen() -> Seen:
        found: Seen = received(LAST_ARRIVAL + PATIENCE + SETTLE_TIMEOUT + READY_TIMEOUT)
        return found

    try:
        received(READY_TIMEOUT)
        if time.perf_counter() > visit.opening:
            raise SystemExit("the drop had opened before the crowd was ready")
        yield seen
    finally:
        ours.close()
        process.terminate()
        process.join()


def _run(connection: Connection, visit: Visit) -> None:
    raise_file_limit()
    gc.disable()  # the process lives for one visit
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection.send(runner.run(_Crowd(visit).visit(lambda: connection.send("ready"))))


class _Crowd:
    """The part that runs in the process."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._seen = Seen()
        self._where = urlsplit(visit.url)
        self._page = orjson.dumps({"query": PAGE})
        self._watchers: list[WatchingSocket] = []

    async def visit(self, ready: Callable[[], None]) -> Seen:
        early = _Crowd(replace(self._visit, tokens=self._visit.tokens[: self._visit.early]))
        await asyncio.gather(*(early._come(number, time.perf_counter()) for number in range(self._visit.early)))
        clients = [
            asyncio.create_task(self._come(number, self._visit.opening + after))
            for number, after in enumerate(arrivals(len(self._visit.tokens)))
        ]
        ready()
        await asyncio.gather(*clients)
        await self._settle()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        self._seen.cpu_seconds, self._seen.peak_mib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
        return self._seen

    async def _come(self, number: int, due: float) -> None:
        await asyncio.sleep(due - time.perf_counter())
        self._seen.latest_start = max(self._seen.latest_start, time.perf_counter() - due)
        shopper = await self._counted("page", self._load(number, due))
        if shopper is not None:
            await asyncio.gather(
                self._counted("stock", self._watch(number)),
                self._counted("purchase", self._buy(number, shopper)),
            )

    async def _counted(self, step: str, taking: Coroutine[Any, Any, T]) -> T | None:
        """Take a step, and count its error. Returns None after an error."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await taking
        except (OSError, BadAnswer) as error:  # a TimeoutError is an OSError
            self._seen.errors[f"{step}: {str(error) or f'not done within {PATIENCE:g} s'}"] += 1
            return None

    async def _load(self, number: int, due: float) -> Shopper:
        shopper = await self._connect(number, Shopper())
        body = await shopper.request(self._request(number, self._page))
        self._seen.pages.append(time.perf_counter() - due)
        if self._visit.product_id.encode() not in body or body.count(b'"stock":') != PRODUCTS:
            raise BadAnswer(f"the page does not have the {PRODUCTS} products: {body[:300].decode()}")
        return shopper

    async def _buy(self, number: int, shopper: Shopper) -> None:
        """Buy one unit. As the storefront, send the purchase again after BUSY."""
        wanted = {"productId": self._visit.product_id, "idempotencyKey": str(uuid.uuid4())}
        message = self._request(number, orjson.dumps({"query": PURCHASE, "variables": {"input": wanted}}))
        begun = time.perf_counter()
        while True:
            answer = orjson.loads(await shopper.request(message))["data"]["purchase"]
            if answer["status"] != "BUSY":
                break
            self._seen.busy += 1
            await asyncio.sleep(answer["retryAfterMs"] / 1000 * random.uniform(1, 1.5))  # noqa: S311
        now = time.perf_counter()
        self._seen.purchases.append(now - begun)
        self._seen.last_answer = max(self._seen.last_answer, now - self._visit.opening)
        self._seen.outcomes[answer["status"]] += 1
        if answer["status"] == "CONFIRMED":
            self._seen.order_ids.add(answer["order"]["id"])

    async def _watch(self, number: int) -> None:
        """Subscribe to the stock, and stay subscribed."""
        watching = WatchingSocket(number, Watch(self._visit.product_id, query=STOCK), self._count_message)
        begun = time.perf_counter()
        await self._connect(number, watching)
        await watching.ready
        self._seen.first_stocks.append(time.perf_counter() - begun)
        self._watchers.append(watching)

    def _count_message(self, number: int, version: int, moment: float) -> None:
        self._seen.messages += 1

    async def _settle(self) -> None:
        """Wait until every watcher has seen that nothing is left, but not forever."""
        deadline, is_left = time.perf_counter() + SETTLE_TIMEOUT, True
        while is_left and time.perf_counter() < deadline:
            await asyncio.sleep(0.2)
            is_left = any(map(_last_stock, self._watchers))
        self._seen.last_stocks.update(map(_last_stock, self._watchers))
        self._seen.errors.update(f"stock: {watching.failure}" for watching in self._watchers if watching.failure)

    async def _connect(self, number: int, protocol: P) -> P:
        """Open a connection from the client's own address."""
        loop = asyncio.get_running_loop()
        connection = socket.socket()
        connection.setblocking(False)
        connection.bind((str(FIRST_ADDRESS + number), 0))
        await loop.sock_connect(connection, (self._where.hostname, self._where.port))
        await loop.create_connection(lambda: protocol, sock=connection)
        return protocol

    def _request(self, number: int, body: bytes) -> bytes:
        return request_bytes(self._where.netloc, body, self._visit.tokens[number])


def _last_stock(watching: WatchingSocket) -> int:
    stock: int = orjson.loads(watching.last)["payload"]["data"]["stockChanged"]["stock"]
    return stock
