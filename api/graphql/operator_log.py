"""The operator log, as operators read it."""

from datetime import datetime
from enum import Enum
from typing import Annotated

import strawberry

from api.drops.limits import checked_id
from api.drops.operator_log import FieldChange as StoredChange
from api.drops.operator_log import LogEntry, list_log
from api.graphql.context import Info
from api.graphql.pagination import After, Before, First, Last, PageInfo
from api.identity.caller import Role


@strawberry.enum(description="What an operator can do. Payments are not in the log: see `Order.paymentRef`.")
class OperatorAction(Enum):
    PRODUCT_CREATED = strawberry.enum_value("PRODUCT_CREATED", description="A product was created.")
    PRODUCT_UPDATED = strawberry.enum_value("PRODUCT_UPDATED", description="A product was changed.")
    PRODUCT_PAUSED = strawberry.enum_value("PRODUCT_PAUSED", description="The sale of a product was stopped.")
    PRODUCT_RESUMED = strawberry.enum_value("PRODUCT_RESUMED", description="The sale of a product goes on.")
    PRODUCT_ARCHIVED = strawberry.enum_value("PRODUCT_ARCHIVED", description="A product was archived.")
    PRODUCT_RESTOCKED = strawberry.enum_value("PRODUCT_RESTOCKED", description="Units were added or taken back.")
    ORDER_CANCELLED = strawberry.enum_value("ORDER_CANCELLED", description="A buyer's order was cancelled.")
    ORDER_RELEASED = strawberry.enum_value("ORDER_RELEASED", description="A buyer's hold was released.")
    ORDERS_EXPORTED = strawberry.enum_value("ORDERS_EXPORTED", description="Orders were exported.")


@strawberry.type(description="A value that was changed.")
class FieldChange:
    field: str = strawberry.field(description="The field, by its name in this API.")
    before: str | None = strawberry.field(description="The value before, as a text; null for none.")
    after: str | None = strawberry.field(description="The value after, as a text; null for none.")

    @classmethod
    def of(cls, change: StoredChange) -> "FieldChange":
        return cls(field=change.field, before=change.before, after=change.after)


@strawberry.type(description="Something that an operator has done.")
class OperatorLogEntry:
    id: strawberry.ID = strawberry.field(description="A UUID.")
    at: datetime = strawberry.field(description="When, by the database's clock.")
    operator: str = strawberry.field(description="Who: the name of the operator's token, or the subject of a token.")
    action: OperatorAction = strawberry.field(description="What was done.")
    product_id: strawberry.ID | None = strawberry.field(description="The product; null if it was about several.")
    order_id: strawberry.ID | None = strawberry.field(description="The order; null if it was about none.")
    changes: list[FieldChange] = strawberry.field(description="What was changed.")

    @classmethod
    def of(cls, entry: LogEntry) -> "OperatorLogEntry":
        step = entry.step
        return cls(
            id=strawberry.ID(str(step.id)),
            at=entry.created_at,
            operator=step.operator,
            action=OperatorAction(step.action.value),
            product_id=None if step.product_id is None else strawberry.ID(str(step.product_id)),
            order_id=None if step.order_id is None else strawberry.ID(str(step.order_id)),
            changes=[FieldChange.of(change) for change in step.changes],
        )


@strawberry.type(description="An entry and its place in the log.")
class OperatorLogEdge:
    cursor: str = strawberry.field(description="The entry's place in the log; pass it as `after` or `before`.")
    node: OperatorLogEntry = strawberry.field(description="The entry.")


@strawberry.type(description="A page of the log, newest first.")
class OperatorLogConnection:
    edges: list[OperatorLogEdge] = strawberry.field(description="The entries of this page, with their cursors.")
    nodes: list[OperatorLogEntry] = strawberry.field(description="The entries of this page.")
    page_info: PageInfo = strawberry.field(description="The place of this page in the log.")


@strawberry.type
class OperatorLogQueries:
    @strawberry.field(
        description="Operator only. What operators and support have done, newest first, in pages (Relay cursor "
        "connections). It is kept for ever."
    )
    async def operator_log(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        product_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only what was done to this product and its orders.")
        ] = None,
    ) -> OperatorLogConnection:
        info.context.caller.require(Role.OPERATOR)
        only = None if product_id is None else checked_id("productId", product_id)
        page = await list_log(info.context.drops.regions, first, after, only, last=last, before=before)
        cursors = [entry.cursor.encode() for entry in page.items]
        nodes = [OperatorLogEntry.of(entry) for entry in page.items]
        edges = [OperatorLogEdge(cursor=cursor, node=node) for cursor, node in zip(cursors, nodes, strict=True)]
        return OperatorLogConnection(edges=edges, nodes=nodes, page_info=PageInfo.of(page, cursors))
