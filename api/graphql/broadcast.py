"""Broadcasts: one execution of a subscription, and one encoding of each response, for all watchers of a topic."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import orjson
from graphql import GraphQLError

from api.drops.drops import Drops
from api.graphql.context import Context
from api.graphql.documents import Document
from api.graphql.errors import format_error, internal_error, rate_limited_error
from api.graphql.execution import CannotSubscribe, Executor, Subscription, format_errors
from api.graphql.shared_response import SharedResponse
from api.identity.admission import Admission
from api.identity.caller import ANONYMOUS, Caller
from api.identity.errors import RateLimited
from api.identity.quota import Claim, Quota, QuotaSpent
from api.identity.turns import Turns

logger = logging.getLogger("dropzero.watchers")

MAX_CHARACTERS = 2_000_000
"""Characters of all documents and variables that are broadcast, each counted once. This bounds the memory that
strangers can take with ever different subscriptions: a parsed document takes about 100 bytes per character, and the
subscription to one product has about 200 characters. Past the bound, the client that began most of them gives way."""

SHARE = 0.05
"""Share of CPU time that deliveries to watchers may take while other work is waiting. At 5 %, purchases keep about 90 %
of their speed beside 10,000 watchers (bench/README.md), and clients have time to read the messages."""

SHARED = ""
"""The name under which the quota counts broadcasts that several clients watch."""

FULL = RateLimited("This server has too many different subscriptions under way, and your share of them is used.", 5.0)
"""`retry_after` is a guess: it is not known when watchers leave."""

DEFECT = "defect: a watcher could not be sent an event; the others were. Report it with this traceback"

FIXED_CHARACTERS = 200
"""Characters that stand for the memory of a broadcast's task and watcher, beside its document and variables."""


class Event(Protocol):
    """What a subscription's source yields."""

    @property
    def subject(self) -> str | None:
        """What the event shows the present state of, such as a product. A later event replaces it. None for an event
        that shows what has happened: no other event replaces it."""

    @property
    def is_kept(self) -> bool:
        """Whether a subscriber that joins later is sent it at once, if it is the latest of its subject."""


class Subscriber(Protocol):
    """A watcher, as a broadcast sees it. Its methods must neither wait nor raise."""

    def next(self, subject: str | None, response: SharedResponse) -> None:
        """Send the response to an event. It replaces an earlier response of the same subject that still waits. With too
        many responses without a subject waiting, the subscriber leaves, and sends fell_behind_error as its end."""

    def end(self, errors: list[dict[str, Any]]) -> None:
        """Send the end: no response follows, because of these errors."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What the watchers of one broadcast have in common.

    `query`: the document without its blanks and comments. `name`: of the operation. `variables`: JSON with sorted keys.
    `caller`: ANONYMOUS for a public subscription. Live stock is the same for everybody, so that ten thousand signed-in
    buyers share one execution.
    """

    query: str
    name: str | None
    variables: bytes
    caller: Caller

    @classmethod
    def of(cls, document: Document, name: str | None, variables: dict[str, Any] | None, caller: Caller) -> "Topic":
        """`name`: of an operation of the document. Raises CannotSubscribe for variables that cannot be encoded."""
        try:
            encoded = orjson.dumps(variables or {}, option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:
            raise CannotSubscribe([GraphQLError("The variables are nested too deeply.")]) from None
        return cls(document.text, name, encoded, ANONYMOUS if document.operations[name].public else caller)

    @property
    def characters(self) -> int:
        """Characters that count towards MAX_CHARACTERS."""
        return FIXED_CHARACTERS + len(self.query) + len(self.variables)


class Broadcasts:
    """The broadcasts of a process. A broadcast ends when its last subscriber leaves."""

    def __init__(
        self, drops: Drops, executor: Executor, admission: Admission, max_characters: int = MAX_CHARACTERS
    ) -> None:
        """Deliveries to watchers have turns of their own, beside those of `admission`."""
        self._drops = drops
        self._executor = executor
        self._admission = admission
        self._deliveries = Turns(SHARE, SHARE, patience=None)
        self._under_way: dict[Topic, Broadcast] = {}
        self._characters = Quota(max_characters)
        self._claims: dict[Broadcast, Claim] = {}
        self._tasks: dict[Broadcast, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._under_way)

    @property
    def subscribers(self) -> int:
        """Subscribers of all broadcasts now."""
        return sum(len(broadcast.subscribers) for broadcast in self._under_way.values())

    @property
    def watchers(self) -> int:
        """Subscribers to live stock and to changed products now: those of the public broadcasts."""
        public = (each for topic, each in self._under_way.items() if topic.caller is ANONYMOUS)
        return sum(len(broadcast.subscribers) for broadcast in public)

    def join(self, topic: Topic, document: Document, subscriber: Subscriber, client: str) -> "Broadcast | None":
        """Subscribe: the latest response is sent at once, then every later one, and the end at most once.

        Returns the broadcast, which `leave` needs; None when the quota has no room for a new broadcast. The subscriber
        has then been sent the end.
        """
        broadcast = self._under_way.get(topic)
        if broadcast is None:
            try:
                broadcast = self._begin(topic, document, client)
            except QuotaSpent:
                subscriber.end([rate_limited_error(FULL)])
                return None
        elif self._claims[broadcast].client not in (client, SHARED):
            self._share(broadcast)
        broadcast.add(subscriber)
        return broadcast

    def leave(self, broadcast: "Broadcast", subscriber: Subscriber) -> None:
        """Unsubscribe, if the subscriber has not left or been sent the end before. When the last subscriber leaves, the
        execution ends."""
        if subscriber in broadcast.subscribers:
            del broadcast.subscribers[subscriber]
            if not broadcast.subscribers and self._under_way.get(broadcast.topic) is broadcast:
                self._forget(broadcast)
                self._tasks[broadcast].cancel()

    async def close(self) -> None:
        """Cancel all broadcasts. Nothing is sent to their subscribers."""
        tasks = [*self._tasks.values(), *self._ending]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, topic: Topic, document: Document, client: str) -> "Broadcast":
        """Begin a broadcast, and claim its characters. Raises QuotaSpent."""
        broadcast = Broadcast(topic)
        claim = self._characters.take(client, topic.characters, partial(self._give_way, broadcast))
        self._under_way[topic] = broadcast
        self._claims[broadcast] = claim
        running = self._run(broadcast, document, client)
        task = self._tasks[broadcast] = asyncio.create_task(running, name="broadcast")
        task.add_done_callback(lambda _: self._tasks.pop(broadcast))
        return broadcast

    async def _run(self, broadcast: "Broadcast", document: Document, client: str) -> None:
        caller, admission = broadcast.topic.caller, self._admission
        context = Context(self._drops, caller, client, admission.turns, admission.gate)
        errors = await broadcast.run(self._executor, document, context, self._deliveries)
        self._forget(broadcast)
        await broadcast.end(errors, self._deliveries)

    def _share(self, broadcast: "Broadcast") -> None:
        """Charge a broadcast to no single client: it must not give way when the client that began it has too many."""
        units = self._claims[broadcast].units
        self._characters.give_back(self._claims[broadcast])
        give_way = partial(self._give_way, broadcast)
        self._claims[broadcast] = self._characters.take(SHARED, units, give_way)

    def _give_way(self, broadcast: "Broadcast") -> None:
        """End a broadcast to make room for a client with fewer characters."""
        self._forget(broadcast)
        self._tasks[broadcast].cancel()
        ending = asyncio.create_task(
            broadcast.end([rate_limited_error(FULL)], self._deliveries), name="broadcast's end"
        )
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _forget(self, broadcast: "Broadcast") -> None:
        """Give the broadcast's characters back. The next subscriber to its topic begins a new broadcast."""
        del self._under_way[broadcast.topic]
        self._characters.give_back(self._claims.pop(broadcast))


class Broadcast:
    """One execution, its subscribers, and the latest response of each subject, if it is kept."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.subscribers: dict[Subscriber, None] = {}
        """In the order in which they came, and in which they are sent responses."""
        self._latest: dict[str, SharedResponse] = {}

    def add(self, subscriber: Subscriber) -> None:
        self.subscribers[subscriber] = None
        for subject, response in self._latest.items():
            _call(subscriber.next, subject, response)

    async def run(self, executor: Executor, document: Document, context: Context, turns: Turns) -> list[dict[str, Any]]:
        """Execute the operation and send each response to the subscribers. Returns the errors that ended it."""
        try:
            variables = orjson.loads(self.topic.variables)
            subscription = await executor.subscribe(document, self.topic.name, variables, context)
            async with aclosing(subscription.events) as events:
                async for event in events:
                    await self._publish(subscription, event, turns)
        except CannotSubscribe as refusal:
            return format_errors(refusal.errors)
        except GraphQLError as error:
            return [format_error(error)]  # of the source: an unknown product, a database that is away
        except Exception as error:
            return [internal_error(error, "a subscription")]
        return []

    async def end(self, errors: list[dict[str, Any]], turns: Turns) -> None:
        """Send the end to all subscribers."""
        while self.subscribers:
            async with turns.turn() as end:
                while self.subscribers and perf_counter() < end:
                    subscriber, _ = self.subscribers.popitem()
                    _call(subscriber.end, errors)

    async def _publish(self, subscription: Subscription, event: Event, turns: Turns) -> None:
        subject = event.subject
        async with turns.turn() as end:
            response = SharedResponse(orjson.dumps(await subscription.respond(event)))
            if subject is not None and event.is_kept:
                self._latest[subject] = response
            # A subscriber that joins from here on is sent `_latest` by `add`.
            waiting = iter(list(self.subscribers))
            more = self._deliver(waiting, subject, response, end)
        while more:
            async with turns.turn() as end:
                more = self._deliver(waiting, subject, response, end)

    def _deliver(
        self, waiting: Iterator[Subscriber], subject: str | None, response: SharedResponse, end: float
    ) -> bool:
        """Send a response to one subscriber after the other until the end of the turn. Returns whether some still
        wait."""
        for subscriber in waiting:
            if subscriber in self.subscribers:
                try:  # as in `_call`, whose own call would be a tenth of the time
                    subscriber.next(subject, response)
                except Exception:
                    logger.exception(DEFECT)
                if perf_counter() >= end:
                    return True
        return False


def _call(method: Callable[..., None], *arguments: Any) -> None:
    """Call a subscriber. A defect in one must not keep the response from the others."""
    try:
        method(*arguments)
    except Exception:
        logger.exception(DEFECT)
