"""What happens to orders: a list to read from any place on, and a subscription."""

from collections.abc import AsyncIterator
from datetime import datetime
from enum import Enum
from typing import Annotated

import strawberry
from graphql import located_error

from api.drops.errors import InvalidInput
from api.drops.event_log import EventLog, encode_position, read_events
from api.drops.events import Event
from api.drops.limits import checked_id
from api.graphql.context import Context, Info
from api.graphql.expiry import before_expiry
from api.graphql.orders import Order
from api.graphql.pagination import After, Before, First, Last, PageInfo
from api.identity.caller import Role


@strawberry.enum(description="What can happen to an order.")
class OrderEventType(Enum):
    HELD = strawberry.enum_value("order.held", description="It was bought, and has to be paid.")
    CONFIRMED = strawberry.enum_value("order.confirmed", description="It was paid, or bought without a hold.")
    CANCELLED = strawberry.enum_value("order.cancelled", description="It was cancelled or released.")
    LAPSED = strawberry.enum_value("order.lapsed", description="Its hold ran out.")


@strawberry.type(description="Something that happened to an order.")
class OrderEvent:
    id: strawberry.ID = strawberry.field(description="A UUID; the `webhook-id` of the same event.")
    cursor: str = strawberry.field(
        description="The event's place among all events; pass it to `orderEvents` as `after`."
    )
    type: OrderEventType = strawberry.field(description="What happened.")
    occurred_at: datetime = strawberry.field(description="When, by the database's clock.")
    order: Order = strawberry.field(description="The order as the event left it; its product as it is now.")

    @property
    def subject(self) -> None:
        """No later event replaces this one."""

    @property
    def is_kept(self) -> bool:
        """A subscriber gets events from then on."""
        return False

    @classmethod
    def of(cls, event: Event) -> "OrderEvent":
        return cls(
            id=strawberry.ID(str(event.id)),
            cursor=encode_position(event.position),
            type=OrderEventType(event.type.value),
            occurred_at=event.occurred_at,
            order=Order.of(event.order),
        )


@strawberry.type(description="An event and its place in the list.")
class OrderEventEdge:
    cursor: str = strawberry.field(description="The event's place in the list; pass it as `after` or `before`.")
    node: OrderEvent = strawberry.field(description="The event.")


@strawberry.type(description="A page of events, oldest first.")
class OrderEventConnection:
    edges: list[OrderEventEdge] = strawberry.field(description="The events of this page, with their cursors.")
    nodes: list[OrderEvent] = strawberry.field(description="The events of this page.")
    page_info: PageInfo = strawberry.field(description="The place of this page in the list.")


@strawberry.type
class OrderEventQueries:
    @strawberry.field(
        description="Operator and support only. What happened to orders, oldest first, in pages (Relay cursor "
        "connections). It is complete: an event that is committed later comes later in the list. So a reader that goes "
        "on from its last cursor misses nothing. Events are kept for some days; an older cursor is an error."
    )
    async def order_events(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
    ) -> OrderEventConnection:
        _require_log(info.context)
        page = await read_events(info.context.drops.regions, first, after, last=last, before=before)
        events = [OrderEvent.of(event) for event in page.items]
        edges = [OrderEventEdge(cursor=event.cursor, node=event) for event in events]
        page_info = PageInfo.of(page, [event.cursor for event in events])
        return OrderEventConnection(edges=edges, nodes=events, page_info=page_info)


@strawberry.type
class OrderEventSubscriptions:
    @strawberry.subscription(
        description="Operator and support only. What happens to orders from now on, each event once and in the order "
        "of `orderEvents`. A client that reads too slowly gets an error, and so does one whose token expires: read "
        "what was missed with `orderEvents`, after the last cursor, and subscribe again. To miss nothing, subscribe "
        "first and read then; an event that comes both ways has the same `id`."
    )
    async def orders_changed(
        self,
        info: Info,
        product_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only orders of this product.")
        ] = None,
    ) -> AsyncIterator[OrderEvent]:
        try:
            log = _require_log(info.context)
            only = None if product_id is None else checked_id("productId", product_id)
            async with log.follow(only) as follower:
                while True:
                    yield OrderEvent.of(await before_expiry(info.context.caller, follower.take()))
        except Exception as error:
            # graphql-core adds the field to the errors that it raises itself, not to those of a source of events.
            raise located_error(error, path=info.path.as_list()) from error


def _require_log(context: Context) -> EventLog:
    """The log of events, for a caller who may read it. Raises Unauthenticated, IssuerAway, Forbidden, and InvalidInput
    when this server keeps no events."""
    context.caller.require(Role.SUPPORT)
    kept = context.drops.events
    if kept is None:
        raise InvalidInput(
            "this server keeps no events: set DROPZERO_WEBHOOK_URL, or DROPZERO_EVENTS=on for events without webhooks"
        )
    return kept.log
