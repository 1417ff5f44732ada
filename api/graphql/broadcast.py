"""Broadcasts: one execution of a subscription, and one encoding of each of its responses, for all who sent the same."""

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
from api.identity.admission import Admission
from api.identity.caller import Caller
from api.identity.errors import RateLimited
from api.identity.quota import Claim, Quota, QuotaSpent
from api.identity.turns import Turns

logger = logging.getLogger("dropzero.watchers")

MAX_CHARACTERS = 2_000_000
"""Characters of all documents and variables that are broadcast, each counted once: the memory that strangers can take
by sending ever different ones. A parsed document takes about 100 bytes per character. A counter of one product has
about 200. When they are spent, the client that began most of them gives way."""

SHARE = 0.05
"""Of the processor's time, for sending changes to watchers while others could use all of it: purchases are to keep 80 %
of their speed, and the clients need time to read the messages."""

SHARED = ""
"""The client that holds the characters of broadcasts which several clients watch."""

FULL = RateLimited("This server has too many different subscriptions under way, and your share of them is used.", 5.0)
"""`retry_after` is a guess: nobody knows when watchers leave."""

FIXED_CHARACTERS = 200
"""Characters that a broadcast counts for beside those of its document and variables: its task and its watcher."""


class Subscriber(Protocol):
    """One of those whom a broadcast is for. It must neither wait nor raise."""

    def next(self, product_id: str, response: str) -> None:
        """Take a response, as JSON. A later one for the same product makes an earlier one worthless."""

    def end(self, errors: list[dict[str, Any]]) -> None:
        """Nothing more will come, because of these errors."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What makes subscriptions the same: their document without its blanks and comments, name, values (JSON with sorted
    keys), and who asks."""

    query: str
    name: str | None
    variables: bytes
    caller: Caller

    @classmethod
    def of(cls, document: Document, name: str | None, variables: dict[str, Any] | None, caller: Caller) -> "Topic":
        """Raises CannotSubscribe for variables that cannot be written down again."""
        try:
            return cls(document.text, name, orjson.dumps(variables or {}, option=orjson.OPT_SORT_KEYS), caller)
        except orjson.JSONEncodeError:
            raise CannotSubscribe([GraphQLError("The variables are nested too deeply.")]) from None

    @property
    def characters(self) -> int:
        """Towards MAX_CHARACTERS."""
        return FIXED_CHARACTERS + len(self.query) + len(self.variables)


class Broadcasts:
    """The broadcasts of a process, each as long as somebody is subscribed to it."""

    def __init__(
        self, drops: Drops, executor: Executor, admission: Admission, max_characters: int = MAX_CHARACTERS
    ) -> None:
        """The sending to watchers has turns of its own, beside those of `admission`."""
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

    def join(self, topic: Topic, document: Document, subscriber: Subscriber, client: str) -> "Broadcast | None":
        """Subscribe: what was told last comes at once, then all that follows, and an end at most once.

        Returns the broadcast, to be left; None when there is no room for one more, and then the subscriber has been
        told so.
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
        """Tell a subscriber nothing more, if it has not left or been told the end before. The last one to leave ends
        the execution."""
        if subscriber in broadcast.subscribers:
            del broadcast.subscribers[subscriber]
            if not broadcast.subscribers and self._under_way.get(broadcast.topic) is broadcast:
                self._forget(broadcast)
                self._tasks[broadcast].cancel()

    async def close(self) -> None:
        """End all broadcasts, without a word to their subscribers."""
        tasks = [*self._tasks.values(), *self._ending]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _begin(self, topic: Topic, document: Document, client: str) -> "Broadcast":
        """Raises QuotaSpent."""
        broadcast = Broadcast(topic)
        hold = self._characters.take(client, topic.characters, partial(self._give_way, broadcast))
        self._under_way[topic] = broadcast
        self._claims[broadcast] = hold
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
        """Charge a broadcast to nobody in particular: it does not give way with the others of who began it."""
        units = self._claims[broadcast].units
        self._characters.give_back(self._claims[broadcast])
        give_way = partial(self._give_way, broadcast)
        self._claims[broadcast] = self._characters.take(SHARED, units, give_way)

    def _give_way(self, broadcast: "Broadcast") -> None:
        """End a broadcast for one of a client that has fewer."""
        self._forget(broadcast)
        self._tasks[broadcast].cancel()
        ending = asyncio.create_task(
            broadcast.end([rate_limited_error(FULL)], self._deliveries), name="broadcast's end"
        )
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    def _forget(self, broadcast: "Broadcast") -> None:
        """Give the broadcast's place back. The next subscriber to its operation begins a new broadcast."""
        del self._under_way[broadcast.topic]
        self._characters.give_back(self._claims.pop(broadcast))


class Broadcast:
    """One execution, its subscribers, and the latest response for each product."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.subscribers: dict[Subscriber, None] = {}
        """In the order in which they came, and in which they are told."""
        self._latest: dict[str, str] = {}

    def add(self, subscriber: Subscriber) -> None:
        self.subscribers[subscriber] = None
        for product_id, response in self._latest.items():
            _call(subscriber.next, product_id, response)

    async def run(self, executor: Executor, document: Document, context: Context, turns: Turns) -> list[dict[str, Any]]:
        """Execute the operation and tell the subscribers of each response, until it ends; the errors that ended it."""
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
        """Tell all subscribers that nothing more will come."""
        while self.subscribers:
            async with turns.turn() as end:
                while self.subscribers and perf_counter() < end:
                    subscriber, _ = self.subscribers.popitem()
                    _call(subscriber.end, errors)

    async def _publish(self, subscription: Subscription, event: Any, turns: Turns) -> None:
        async with turns.turn() as end:
            response = orjson.dumps(await subscription.respond(event)).decode()
            self._latest[event.product_id] = response
            # Whoever joins from here on finds it there.
            waiting = iter(list(self.subscribers))
            more = self._deliver(waiting, event.product_id, response, end)
        while more:
            async with turns.turn() as end:
                more = self._deliver(waiting, event.product_id, response, end)

    def _deliver(self, waiting: Iterator[Subscriber], product_id: str, response: str, end: float) -> bool:
        """Tell one subscriber after the other until the end of the turn; whether some still wait."""
        for subscriber in waiting:
            if subscriber in self.subscribers:
                _call(subscriber.next, product_id, response)
                if perf_counter() >= end:
                    return True
        return False


def _call(tell: Callable[..., None], *what: Any) -> None:
    """Tell one subscriber; a defect met there must not keep it from all others."""
    try:
        tell(*what)
    except Exception:
        logger.exception("defect: a watcher could not be told")
