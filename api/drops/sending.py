"""Sending: the events of parcels go to the shop's receiver, whatever the receiver does.

A receiver that is down, slow or lying costs purchases nothing. What is sent at a time has a bound, sending has a share
of the event loop, and while the receiver takes nothing, events stay where they are and single ones are tried.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

from api.database.backoff import Backoff
from api.database.errors import Conflict, DatabaseError
from api.drops.events import Event
from api.drops.parcels import MAX_PARCEL, Backlog, Parcel, Parcels, Results
from api.identity.turns import Turns

logger = logging.getLogger("dropzero.webhooks")

AT_ONCE = 16
"""Events that one process sends at the same time. With a receiver that takes 50 ms, 320 events a second."""

PARCELS = 4
"""Parcels that one process has at the same time, so that it sends while it takes and finishes others."""

SENDING = 30.0
"""Seconds after which no other event of a parcel is sent: the rest goes back."""

DOWN_AFTER = 16
"""Failures in a row after which the receiver counts as down. Events that it has refused are not among them: otherwise
the events of one type, which its program does not know, would keep all others back."""

SHARE = 0.2
"""Share of the processor's time that sending may take while other work could use all of it."""

SEND_TIME = 0.0002
"""Seconds of the processor that sending one event takes: 0.16 ms were measured, without TLS."""


class NotTaken(Exception):
    """The receiver has not taken an event. `pause`: the seconds that it wants to be left alone. `away`: it would have
    taken no other event either; otherwise it has refused this one."""

    def __init__(self, reason: str, pause: float | None = None, *, away: bool = True) -> None:
        super().__init__(reason)
        self.pause = pause or 0.0
        self.away = away


Send = Callable[[Event], Awaitable[None]]
"""Sends an event once. Raises NotTaken."""


@dataclass(frozen=True, slots=True)
class SendingTimes:
    """When a process looks for events to send, in seconds.

    `look`: between two looks when this process has moved no events; jittered by a tenth. Events that other processes
    cannot send as fast are found then, and those that are due again.
    `probe`: between two tries while the receiver is down.
    `backoff`: while the database is away.
    """

    look: float = 1.0
    probe: Backoff = field(default=Backoff(base=2.0, cap=120.0))
    backoff: Backoff = field(default=Backoff(base=0.25, cap=5.0))


@dataclass(slots=True)
class _Round:
    """One parcel that is being sent: what failed, what was not sent, and when to stop, by the event loop's clock."""

    stop_at: float
    failed: list[int] = field(default_factory=list)
    unsent: list[int] = field(default_factory=list)
    pause: float = 0.0


class Sending:
    """Takes parcels and sends their events, from `start` to `close`."""

    def __init__(self, parcels: Parcels, send: Send, times: SendingTimes = SendingTimes()) -> None:
        self._parcels = parcels
        self._send = send
        self._times = times
        self._turns = Turns(SHARE, SHARE, patience=None)
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rounds: set[asyncio.Task[None]] = set()
        self._failures = 0
        """Events in a row for which the receiver was away."""
        self._probes = 0
        """Tries in a row while the receiver is down."""
        self._pause = 0.0
        """Seconds that the receiver wanted to be left alone, when it last failed."""
        self.sent = 0
        """Events that the receiver has taken from this process since its start."""
        self.failed = 0
        """Events that it has not taken, counted each time."""

    @property
    def backlog(self) -> Backlog:
        """What waits in the database, as this process has seen it last."""
        return self._parcels.backlog

    @property
    def down(self) -> bool:
        """Whether the receiver takes nothing."""
        return self._failures >= DOWN_AFTER

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="webhooks")

    def wake(self) -> None:
        """Look soon: this process has just moved events."""
        self._woken.set()

    async def close(self, grace: float) -> None:
        """Stop. Events that are on their way are awaited for `grace` seconds, so that none is sent twice. The others go
        back."""
        self._stopping.set()
        self._woken.set()
        if self._task is None:
            return
        end = asyncio.get_running_loop().time() + grace
        await asyncio.wait([self._task], timeout=grace)
        if self._rounds:
            await asyncio.wait(self._rounds, timeout=max(0.0, end - asyncio.get_running_loop().time()))
        late = [self._task, *self._rounds]
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                more = await self._take_one()
            except Conflict:
                await self._sleep(random.uniform(0.01, 0.1))  # noqa: S311
            except Exception as error:
                # A defect is caught too: without this task no event would be sent.
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "events to send cannot be read yet: %s; this is tried again. If it goes on, look at /readyz; "
                        "report a traceback",
                        error,
                        exc_info=defect,
                    )
                await self._sleep(self._times.look + self._times.backoff.delay(failures))
            else:
                if failures:
                    logger.info("events to send can be read again, after %d failures", failures)
                failures = 0
                if self.down:
                    await self._wait_while_down()
                elif not more:
                    await self._wait()

    async def _take_one(self) -> bool:
        """Take a parcel and begin to send it. Returns whether there was one. Raises Conflict, Unavailable,
        OutcomeUnknown."""
        self._woken.clear()
        parcel = await self._parcels.take(1 if self.down else MAX_PARCEL)
        if parcel is None:
            return False
        task = asyncio.create_task(self._send_parcel(parcel), name="webhooks of a parcel")
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)
        while len(self._rounds) >= (1 if self.down else PARCELS):
            await asyncio.wait(self._rounds, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._times.look * random.uniform(0.9, 1.1)):  # noqa: S311
                await self._woken.wait()

    async def _wait_while_down(self) -> None:
        """Wait until the next single event is tried."""
        self._probes += 1
        await self._sleep(max(self._times.look, self._times.probe.delay(self._probes), self._pause))

    async def _sleep(self, seconds: float) -> None:
        """Sleep until `close` at most."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _send_parcel(self, parcel: Parcel) -> None:
        round_ = _Round(asyncio.get_running_loop().time() + SENDING)
        chains: dict[UUID, list[Event]] = {}
        for event in parcel.events:
            chains.setdefault(event.order_id or event.product_id, []).append(event)
        if self.down:
            for chain in chains.values():
                await self._send_chain(chain, round_)
        else:
            await asyncio.gather(*(self._send_chain(chain, round_) for chain in chains.values()))
        if parcel.old and round_.failed:
            logger.error(
                "%d events at positions %d to %d have not been taken for three days, and are not sent again. They are "
                "kept. When the receiver takes events, send them with: UPDATE parcels SET due = now(), created_at = "
                "now() WHERE due = 'infinity' AND first > 0",
                len(round_.failed),
                min(round_.failed),
                max(round_.failed),
            )
        try:
            await self._parcels.finish(parcel, Results(round_.failed, round_.unsent, round_.pause))
        except Exception as error:
            defect = None if isinstance(error, DatabaseError) else error
            logger.warning(
                "events may be sent twice: their parcel cannot be finished: %s; receivers drop what they have seen, "
                "and nothing has to be done but to report a traceback",
                error,
                exc_info=defect,
            )

    async def _send_chain(self, events: Sequence[Event], round_: _Round) -> None:
        """Send the events of one order in their order. After one that fails, the others wait with it."""
        for number, event in enumerate(events):
            async with self._limit:
                if self._must_stop(round_):
                    round_.unsent += [event.position for event in events[number:]]
                    return
                await self._turns.pay("", SEND_TIME)
                try:
                    await self._send(event)
                except Exception as error:
                    # A defect is caught too: the event must not count as sent.
                    self._count_failure(error)
                    round_.failed += [event.position for event in events[number:]]
                    round_.pause = max(round_.pause, self._pause)
                    return
                self._count_success()

    def _must_stop(self, round_: _Round) -> bool:
        late = asyncio.get_running_loop().time() > round_.stop_at
        return late or self._stopping.is_set() or (self.down and bool(round_.failed))

    def _count_failure(self, error: Exception) -> None:
        self.failed += 1
        self._pause = error.pause if isinstance(error, NotTaken) else 0.0
        if not isinstance(error, NotTaken):
            logger.error(
                "defect: an event could not be sent, and is sent again later; report it with this traceback",
                exc_info=error,
            )
        elif not error.away:
            self._count_answer()
            return
        self._failures += 1
        if self._failures == DOWN_AFTER:
            logger.warning(
                "the receiver of webhooks takes no events: %s; they wait, and purchases go on. Look at the receiver",
                error,
            )

    def _count_success(self) -> None:
        self.sent += 1
        self._pause = 0.0
        self._count_answer()

    def _count_answer(self) -> None:
        if self.down:
            logger.info("the receiver of webhooks takes events again, after %d failures", self._failures)
        self._failures = self._probes = 0
