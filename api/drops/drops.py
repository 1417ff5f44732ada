"""What lives as long as the server: the pools of all Regions, a group commit for each, and the stock publisher.

A change goes through `Drops`, which knows the line, the budget and the watchers that it concerns. A read is a function
that takes the database: list_products(drops.regions, ...).
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from api.database.database import Database
from api.database.errors import DatabaseError
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.drops import new_product
from api.drops.cancellation import CancelledOrder, cancel_order, release_order
from api.drops.confirmation import PaidOrder, confirm_order
from api.drops.drop_reads import DropReads
from api.drops.families import FamilyReads, Variant
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.holds import HeldUnits
from api.drops.kept_activity import KeptActivity
from api.drops.kept_events import KeptEvents
from api.drops.known_products import KnownProducts
from api.drops.lapsing import Lapsing
from api.drops.list_reads import Listed, ListPart, ListReads
from api.drops.new_product import NewProduct
from api.drops.operator_log import Action
from api.drops.order_counts import OrderCounts
from api.drops.processes import NO_GAUGES, Gauges
from api.drops.product_changes import Change, change_product
from api.drops.product_feed import ProductFeed
from api.drops.product_reads import ProductReads
from api.drops.products import Product
from api.drops.requests import Purchase, RestockRequest
from api.drops.restocking import restock
from api.drops.sending import Send
from api.drops.shards import Shard
from api.drops.stock import PollingTimes, StockPublisher
from api.drops.ticket import Outcome

if TYPE_CHECKING:
    from api.tracing.span import Span

R = TypeVar("R")

EVENTS_GRACE = 2.0
"""Seconds that a server which stops waits for events on their way to the webhook. The others are sent later."""

ACTIVITY_GRACE = 1.0
"""Seconds that a server which stops waits until its last activity is written."""


class Drops:
    """The drops of one database, used through the endpoints of all its Regions."""

    def __init__(
        self,
        regions: Regions,
        policy: GroupPolicy,
        budget: RetryBudget,
        polling: PollingTimes,
        resumed: Callable[[str], Awaitable[None]] | None = None,
        keep_events: bool = False,
        keep_activity: bool = True,
        send: Send | None = None,
    ) -> None:
        """`resumed` returns when it is the client's turn to go on, after many waited for one transaction.
        `keep_events`: what happens to orders and products is written down for other systems. `send` sends it to the
        webhook; None where there is none. `keep_activity`: what this process answers is written down for operators."""
        self.regions = regions
        self._resumed = resumed
        self._budget = budget
        self.known_products = KnownProducts(regions)
        self.product_reads = ProductReads(regions)
        self.family_reads = FamilyReads(regions)
        self.product_feed = ProductFeed(regions)
        self.list_reads = ListReads(regions)
        self.drop_reads = DropReads(regions, self.product_reads, budget)
        self.held_units = HeldUnits(regions)
        self.order_counts = OrderCounts(regions)
        self.publisher = StockPublisher(regions, polling)
        self.events = KeptEvents(regions, send) if keep_events else None
        """None where no events are kept."""
        databases: dict[str | None, Database] = {None: regions, **{pool.region: pool for pool in regions}}
        self.group_commits = {
            region: GroupCommit(database, policy, budget, self._committed, keep_events=keep_events)
            for region, database in databases.items()
        }
        """One for each Region, for the purchases that name it. Under None, for purchases that name no Region: its
        transactions use home, and a peer while home is away."""
        self.lapsing = Lapsing(regions, self.group_commits[None])
        self.activity = KeptActivity(regions, self.group_commits.values()) if keep_activity else None
        """None where no activity is kept."""

    async def open(self) -> None:
        """Allow requests, until `close`."""
        await self.regions.open()

    def start(self, gauges: Gauges = NO_GAUGES) -> None:
        """Begin the work beside requests: ending holds, moving and sending events, and writing activity. It needs a
        database that is ready. `gauges`: what operators see of this process."""
        self.lapsing.start()
        if self.events is not None:
            self.events.start()
        if self.activity is not None:
            self.activity.start(gauges)

    async def close(self, grace: float) -> None:
        """Answer every request in line, within `grace` seconds, and disconnect."""
        await self.lapsing.close()
        await self.publisher.close()
        await self.product_feed.close()
        await self.known_products.close()
        await self.drop_reads.close()
        await self.product_reads.close()
        await self.family_reads.close()
        await self.list_reads.close()
        await self.held_units.close()
        await self.order_counts.close()
        await asyncio.gather(*(group_commit.close(grace) for group_commit in self.group_commits.values()))
        if self.events is not None:
            await self.events.close(EVENTS_GRACE)
        if self.activity is not None:
            await self.activity.close(ACTIVITY_GRACE)
        await self.regions.close()

    def _committed(self, product: Product, shards: Sequence[Shard]) -> None:
        """Publish what a transaction of this process has just committed."""
        self.publisher.publish(product.id, shards, product.revision, product)
        if self.events is not None:
            self.events.relay.wake()

    async def purchase(
        self, purchase: Purchase, region: str | None, client: str = "", span: "Span | None" = None
    ) -> Outcome:
        """Buy through a Region. None means home, or a peer while home is away. `client` is where the purchase
        came from. `span` is of the operation; None if it is not traced. Looking up a product that is not known yet
        counts towards the purchase's deadline.

        Raises UnknownRegion, NotFound, and the errors of GroupCommit.submit.
        """
        if region is not None:
            self.regions.pool(region)  # raises UnknownRegion
        deadline = asyncio.get_running_loop().time() + self._budget.seconds
        await self._require_product(purchase.product_id, client, deadline)
        return await self._in_turn(client, self.group_commits[region].submit(purchase, client, deadline, span))

    async def _require_product(self, product_id: UUID, client: str, deadline: float) -> None:
        """Look up a product that is not known yet, before it gets a line. Raises NotFound."""
        if not self.known_products.knows(product_id):
            with suppress(DatabaseError, TimeoutError):  # the line tries again until the deadline
                async with asyncio.timeout_at(deadline):
                    await self._in_turn(client, self.known_products.require(product_id))

    async def _in_turn(self, client: str, waiting: Awaitable[R]) -> R:
        """Await a result that many clients wait for, and go on when it is the client's turn."""
        try:
            return await waiting
        finally:
            if self._resumed is not None:
                await self._resumed(client)

    async def read_product(self, product_id: UUID, region: str | None, client: str = "") -> Product | None:
        """See ProductReads.get. One statement answers many clients, and each goes on in its turn."""
        return await self._in_turn(client, self.product_reads.get(product_id, region))

    async def read_family(self, drop_name: str, family: str, client: str = "") -> tuple[Variant, ...]:
        """See FamilyReads.get. One statement answers many clients, and each goes on in its turn."""
        return await self._in_turn(client, self.family_reads.get((drop_name, family)))

    async def read_products(self, ids: Iterable[UUID], client: str = "") -> dict[UUID, Product]:
        """See ProductReads.get_several. One statement answers many clients, and each goes on in its turn."""
        return await self._in_turn(client, self.product_reads.get_several(ids))

    async def read_lists(self, parts: Iterable[ListPart], client: str = "") -> dict[ListPart, Listed]:
        """See ListReads.get. One statement answers many clients, and each goes on in its turn."""
        return await self._in_turn(client, self.list_reads.get(parts))

    async def restock(self, request: RestockRequest, client: str = "") -> Product:
        """See restocking.restock. Looking up a product that is not known yet counts towards the deadline."""
        deadline = asyncio.get_running_loop().time() + self._budget.seconds
        await self._require_product(request.product_id, client, deadline)
        return await self._in_turn(client, restock(self.group_commits[None], request, client, deadline))

    async def create_product(self, product: NewProduct, operator: str | None = None) -> Product:
        """See new_product.create_product."""
        return await new_product.create_product(self.regions, product, self._budget, operator)

    async def change_product(self, product_id: UUID, change: Change, operator: str, action: Action) -> Product:
        """See product_changes.change_product."""
        changed = await change_product(self.regions, product_id, change, operator, action, self._budget)
        if changed.shards:
            self._committed(changed.product, changed.shards)
        return changed.product

    async def cancel_order(
        self, order_id: UUID, user_ref: str | None, client: str = "", operator: str | None = None
    ) -> CancelledOrder:
        """See cancellation.cancel_order."""
        line = self.group_commits[None]
        cancelling = cancel_order(self.regions, line, order_id, user_ref, client, self._budget, operator)
        return await self._in_turn(client, cancelling)

    async def release_order(
        self, order_id: UUID, user_ref: str | None, client: str = "", operator: str | None = None
    ) -> CancelledOrder:
        """See cancellation.release_order."""
        line = self.group_commits[None]
        releasing = release_order(self.regions, line, order_id, user_ref, client, self._budget, operator)
        return await self._in_turn(client, releasing)

    async def confirm_order(self, order_id: UUID, payment_ref: str, client: str = "") -> PaidOrder:
        """See confirmation.confirm_order."""
        confirming = confirm_order(self.regions, self.group_commits[None], order_id, payment_ref, client, self._budget)
        return await self._in_turn(client, confirming)
