"""What happens in a drop, over all server processes: its history, and a subscription."""

from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import datetime
from typing import Annotated

import strawberry
from graphql import located_error

from api.drops import activity_feed, curve, processes
from api.drops.errors import InvalidInput
from api.drops.history import MAX_POINTS
from api.drops.holds import MAX_COUNTED
from api.drops.kept_activity import KeptActivity
from api.drops.limits import checked_id
from api.graphql.context import Context, Info
from api.graphql.expiry import before_expiry
from api.graphql.products import Product
from api.graphql.regions import Region
from api.identity.caller import Role

_PURCHASES = "Purchases that were answered in the interval: "

_POINT_FIELDS = [field.name for field in fields(curve.ActivityPoint)]


@strawberry.type(
    description="What all server processes have answered about a product in an interval. The latest interval can still "
    "grow. An interval in which nothing happened has no point."
)
class ActivityPoint:
    at: datetime = strawberry.field(description="The begin of the interval, by the database's clock.")
    seconds: float = strawberry.field(description="The length of the interval.")
    stock: int | None = strawberry.field(description="The stock at its end; null if it is not known.")
    confirmed: int = strawberry.field(description=f"{_PURCHASES}they have bought, and need no payment.")
    held: int = strawberry.field(description=f"{_PURCHASES}they have bought, and have to be paid.")
    sold_out: int = strawberry.field(description=f"{_PURCHASES}too few units were left.")
    limit_reached: int = strawberry.field(description=f"{_PURCHASES}the buyer had as many units as one can.")
    not_open: int = strawberry.field(description=f"{_PURCHASES}they came too early.")
    paused: int = strawberry.field(description=f"{_PURCHASES}the product was paused.")
    closed: int = strawberry.field(description=f"{_PURCHASES}they came too late.")
    cancelled: int = strawberry.field(
        description=f"{_PURCHASES}they were sent again, and their order has been cancelled since."
    )
    busy: int = strawberry.field(description=f"{_PURCHASES}the server was busy, and nothing was sold.")
    failed: int = strawberry.field(description=f"{_PURCHASES}with an error.")
    p50_ms: float | None = strawberry.field(
        description="Milliseconds within which half of the purchases were answered; null without purchases."
    )
    p99_ms: float | None = strawberry.field(
        description="Milliseconds within which 99 % of the purchases were answered; null without purchases."
    )
    attempts: int = strawberry.field(description="Transactions that each purchase was in, added up.")
    transactions: int = strawberry.field(description="Transactions of purchases and other changes of the stock.")
    conflicts: int = strawberry.field(description="Those of them that ended with a conflict.")

    @classmethod
    def of(cls, point: curve.ActivityPoint) -> "ActivityPoint":
        return cls(**{name: getattr(point, name) for name in _POINT_FIELDS})


@strawberry.type(description="A regional endpoint as one server process sees it.")
class ProcessRegion:
    name: str = strawberry.field(description="The Region's name.")
    away: bool = strawberry.field(description="Whether the process uses the endpoint's peers instead.")
    latency_ms: float | None = strawberry.field(
        description="Milliseconds of the last round trip; null when the endpoint did not answer."
    )


@strawberry.type(description="A server process, as it has described itself some seconds ago.")
class ServerProcess:
    name: str = strawberry.field(description="Its host and its number there.")
    version: str = strawberry.field(description="The version of DROPZERO that it runs.")
    started_at: datetime = strawberry.field(description="When it started, by the database's clock.")
    seen_at: datetime = strawberry.field(description="When it described itself.")
    watchers: int = strawberry.field(description="Its subscribers to live stock.")
    waiting: int = strawberry.field(description="Its purchases of all products that are not answered yet.")
    lateness_ms: float = strawberry.field(description="Milliseconds that its event loop was late at worst of late.")
    regions: list[ProcessRegion] = strawberry.field(description="The regional endpoints, as it sees them.")

    @classmethod
    def of(cls, process: processes.ServerProcess) -> "ServerProcess":
        return cls(
            name=process.name,
            version=process.version,
            started_at=process.started_at,
            seen_at=process.seen_at,
            watchers=process.watchers,
            waiting=process.waiting,
            lateness_ms=process.lateness_ms,
            regions=[
                ProcessRegion(name=region.name, away=region.away, latency_ms=region.latency_ms)
                for region in process.regions
            ],
        )


@strawberry.type(description="What happens in a drop of one product, over all server processes.")
class DropActivity:
    at: datetime = strawberry.field(description="When this was read, by the database's clock.")
    product: Product = strawberry.field(description="The product then.")
    points: list[ActivityPoint] = strawberry.field(description="The last minute, oldest first.")
    held_units: int = strawberry.field(description="Units in held orders.")
    held_orders: int = strawberry.field(description=f"Held orders, counted up to {MAX_COUNTED:,}.")
    lapsing: int = strawberry.field(description="Held orders whose time is over, and that are about to lapse.")
    watchers: int = strawberry.field(description="Subscribers to live stock of all products, in all processes.")
    processes: list[ServerProcess] = strawberry.field(description="The server processes, the longest running first.")
    regions: list[Region] = strawberry.field(description="The regional endpoints, as the answering process sees them.")

    @property
    def subject(self) -> str:
        """A later event about the product replaces this one."""
        return self.product.id

    @property
    def is_kept(self) -> bool:
        """A subscriber that joins later begins with it."""
        return True

    @classmethod
    def of(cls, activity: activity_feed.DropActivity) -> "DropActivity":
        around = activity.around
        return cls(
            at=activity.at,
            product=Product.of(activity.product),
            points=[ActivityPoint.of(point) for point in activity.points],
            held_units=around.holds.units,
            held_orders=around.holds.orders,
            lapsing=around.holds.lapsing,
            watchers=sum(process.watchers for process in around.processes),
            processes=[ServerProcess.of(process) for process in around.processes],
            regions=[Region.of(region) for region in around.regions],
        )


@strawberry.type
class ActivityQueries:
    @strawberry.field(
        description="Operator and support only. What happened in the drop of a product, from its first purchase of the "
        f"last 24 hours on: up to {MAX_POINTS} points of equal length, oldest first. Activity is kept for some "
        "days."
    )
    async def drop_history(
        self, info: Info, product_id: Annotated[strawberry.ID, strawberry.argument(description="The product.")]
    ) -> list[ActivityPoint]:
        kept = _require_activity(info.context)
        known_id = checked_id("productId", product_id)
        await info.context.drops.known_products.require(known_id)
        return [ActivityPoint.of(point) for point in await kept.history(known_id)]


@strawberry.type
class ActivitySubscriptions:
    @strawberry.subscription(
        description="Operator and support only. What happens in the drop of a product: now, and from then on whenever "
        "it changes, once a second at most, and about every five seconds in any case. A client that reads slowly skips "
        "to the latest event. A client whose token expires gets an error."
    )
    async def drop_activity(
        self, info: Info, product_id: Annotated[strawberry.ID, strawberry.argument(description="The product.")]
    ) -> AsyncIterator[DropActivity]:
        try:
            kept = _require_activity(info.context)
            known_id = checked_id("productId", product_id)
            await info.context.drops.known_products.require(known_id)
            async with kept.feed.follow(known_id) as follower:
                while True:
                    yield DropActivity.of(await before_expiry(info.context.caller, follower.take()))
        except Exception as error:
            # graphql-core adds the field to the errors that it raises itself, not to those of a source of events.
            raise located_error(error, path=info.path.as_list()) from error


def _require_activity(context: Context) -> KeptActivity:
    """The activity, for a caller who may read it. Raises Unauthenticated, IssuerAway, Forbidden, and InvalidInput when
    this server keeps no activity."""
    context.caller.require(Role.SUPPORT)
    kept = context.drops.activity
    if kept is None:
        raise InvalidInput("this server keeps no activity: unset DROPZERO_ACTIVITY, which is off")
    return kept
