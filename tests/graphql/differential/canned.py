"""A shop without a database: it returns products, orders and decisions by a plan to the real schema's resolvers."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import orjson

from api.database.database import Database
from api.database.errors import Conflict, OutcomeUnknown, Unavailable
from api.database.regions import RegionHealth, UnknownRegion
from api.drops.cancellation import CancelledOrder
from api.drops.confirmation import PaidOrder
from api.drops.decisions import (
    Cancelled,
    Closed,
    Confirmed,
    Gone,
    Held,
    LimitReached,
    NotOpen,
    Paid,
    Paused,
    Replayed,
    SoldOut,
)
from api.drops.details import Description, Image, Price
from api.drops.drops import Drops
from api.drops.errors import AlreadyConfirmed, IdempotencyKeyReused, NotFound
from api.drops.events import order_data
from api.drops.history import read_history
from api.drops.new_product import NewProduct
from api.drops.operator_log import Action
from api.drops.orders import Order, OrderStatus
from api.drops.product_changes import Change
from api.drops.products import Product, get_products
from api.drops.requests import Purchase, RestockRequest
from api.drops.ticket import Answer, Busy, Outcome
from api.identity.caller import ANONYMOUS, OPERATOR, Caller, Role, buyer, operator
from api.identity.errors import RateLimited
from api.identity.gate import Gate
from api.identity.guests import GuestToken
from tests.graphql.differential.canned_drops import CannedDropReads, rows_of_drops
from tests.graphql.differential.canned_rows import ACTIVITY, LOG, NOW
from tests.graphql.differential.script import GOOD, Plan, Scripted, scripted
from tests.product_rows import new_product_row

IMAGES = (Image("https://shop.example/tee.webp", "A tee", 800, 1000), Image("/images/back.png", "Its back", 8, 10))

PRODUCTS = tuple(
    new_product_row(
        id=UUID(int=number),
        name=f"Tee {number}",
        opens_at=opens_at,
        limit_per_buyer=limit,
        hold_seconds=hold,
        descriptions=(Description("ja", "霜"), Description("pt", "Geada"))[: number - 1],
        images=IMAGES[: number - 1],
        price=None if limit is None else Price("48.00", "EUR"),
        family=None if hold is None else "Tee",
        option=None if hold is None else str(number),
        created_at=NOW,
        stock=stock,
        stocked=10,
        version=3 + number,
    )
    for number, opens_at, limit, hold, stock in (
        (1, None, None, None, 7),
        (2, NOW, 2, 600, 0),
        (3, NOW, None, 30, 2**31 - 1),
    )
)


def _order(number: int, status: OrderStatus) -> Order:
    held_until = NOW if status is OrderStatus.HELD else None
    confirmed_at = NOW if status is OrderStatus.CONFIRMED else None
    return Order(
        UUID(int=100 + number),
        UUID(int=1 + number % 4),
        "ada",
        number + 1,
        status,
        "home",
        NOW,
        held_until,
        confirmed_at,
        "pi_1" if number % 3 == 0 else None,
        Price("48.00", "EUR") if number % 2 == 0 else None,
    )


ORDERS = tuple(_order(number, status) for number, status in enumerate([*OrderStatus] * 4))
"""More than are completed in one piece. The product of every fourth does not exist."""

HELD, CONFIRMED, CANCELLED, LAPSED = ORDERS[:4]

EVENTS = tuple(
    {
        "oldest": 1,
        "newest": len(ORDERS),
        "position": position,
        "id": UUID(int=200 + position),
        "type": f"order.{order.status.value.lower()}",
        "occurred_at": NOW,
        "product_id": order.product_id,
        "order_id": order.id,
        "data": orjson.dumps(order_data(order)).decode(),
    }
    for position, order in enumerate(ORDERS, start=1)
)
"""Rows of the log of events, as read_events reads them."""

CALLERS = (
    *[OPERATOR] * 6,
    buyer("ada", guest=False, expires_at=4e9),
    buyer("bob", guest=True, expires_at=4e9),
    ANONYMOUS,
    Caller(names_any_buyer=True),
    Caller(objection="this token has expired"),
    Caller(objection="the issuer cannot be reached", issuer_away=True),
    operator("support", frozenset({Role.SUPPORT, Role.PAYMENTS}), subject="sue"),
)

ERRORS: dict[str, Callable[[], Exception]] = {
    "is away": lambda: Unavailable("no route to db1"),
    "conflicts": lambda: Conflict("too often"),
    "is lost": lambda: OutcomeUnknown("lost at COMMIT"),
    "is limited": lambda: RateLimited("too often", 2.5),
    "raises": lambda: ValueError("a defect"),
    "finds nothing": lambda: NotFound("there is no such thing"),
    "was used": lambda: IdempotencyKeyReused("use another key"),
    "was paid": lambda: AlreadyConfirmed("refund this payment"),
}

READ_AT_ONCE = (
    *("more", "last_moment", "last_id", "action", "changes", "id", "created_at", "status", "oldest", "newest"),
    *("position", "type", "data"),
)
"""Columns that the reading of rows itself uses."""

ODD: dict[str, Callable[[Any], Any]] = {
    "null": lambda value: None,
    "text": lambda value: "text",
    "too large": lambda value: 2**31,
    "a fraction": lambda value: 0.5,
    "a list": lambda value: [value],
    "digits": lambda value: "12",
}
"""What can be in a column instead of its value."""


@dataclass(frozen=True)
class Shop:
    """The part of `Drops` and of `Regions` that resolvers use. What it returns and raises is drawn from the plan."""

    context: Scripted
    region: str = "home"
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def regions(self) -> "Shop":
        return self

    def pool(self, region: str) -> "Shop":
        if region not in ("home", "peer"):
            raise UnknownRegion(f"there is no Region {region!r}")
        return replace(self, region=region)

    async def health(self) -> list[RegionHealth]:
        await self._place("health")
        return [RegionHealth("home", True, True, 0.25), RegionHealth("peer", False, False, None)]

    async def fetch(self, statement: str, *arguments: Any, timeout: float = 5.0) -> list[dict[str, Any]]:
        if "FROM activity" in statement:
            bounds = {"now": NOW, "oldest": NOW - timedelta(hours=1)}
            rows = [bounds] if "oldest" in statement else [dict(row) for row in ACTIVITY]
            return self._rows(await self._place(f"activity {arguments}"), rows)
        if "now() AS now" in statement:
            place = await self._place("now")
            return self._rows(place, [{"now": NOW}])
        if "FROM events" in statement:
            return self._rows(await self._place(f"events {arguments}"), [dict(row) for row in EVENTS])
        if "FROM operator_log" in statement:
            return self._rows(await self._place(f"log {arguments}"), [dict(row) for row in LOG])
        if "FROM drops" in statement:
            return self._rows(await self._place(f"drops {arguments}"), rows_of_drops())
        if "count(*) AS products" in statement:
            return self._rows(await self._place(f"count {arguments}"), [{"products": len(PRODUCTS)}])
        table = "products" if "stock_shards" in statement else "orders"
        place = await self._place(f"{table} {self.region} {arguments}")
        things: tuple[Any, ...] = PRODUCTS if table == "products" else ORDERS
        if len(arguments) == 1:
            wanted = arguments[0] if isinstance(arguments[0], list) else [str(arguments[0])]
            things = tuple(each for each in things if str(each.id) in wanted)
            if isinstance(arguments[0], UUID) and arguments[0].version == 5:  # of an idempotency key
                things = (ORDERS[arguments[0].int % len(ORDERS)],)
        columns = Product.__slots__ if table == "products" else Order.__slots__
        reached = {"more": False, "last_moment": None, "last_id": None} if "AS reached" in statement else {}
        return self._rows(place, [reached | {name: getattr(each, name) for name in columns} for each in things])

    async def fetchrow(self, statement: str, *arguments: Any) -> dict[str, Any] | None:
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    async def read_product(self, product_id: UUID, region: str | None, client: str) -> Product | None:
        found = await get_products(cast("Database", self if region is None else self.pool(region)), [product_id])
        return found.get(product_id)

    @property
    def product_reads(self) -> SimpleNamespace:
        return SimpleNamespace(get=lambda product_id: self.read_product(product_id, None, ""))

    @property
    def drop_reads(self) -> CannedDropReads:
        return CannedDropReads(self._place, PRODUCTS)

    @property
    def events(self) -> SimpleNamespace:
        return SimpleNamespace(log=None)

    @property
    def activity(self) -> SimpleNamespace:
        return SimpleNamespace(history=partial(read_history, cast("Database", self)))

    @property
    def known_products(self) -> SimpleNamespace:
        return SimpleNamespace(require=lambda product_id: self._place(f"require {product_id}"))

    @property
    def held_units(self) -> SimpleNamespace:
        return SimpleNamespace(of=self._held_units)

    async def _held_units(self, product_id: UUID) -> int:
        await self._place(f"held {product_id}")
        return 3

    async def purchase(self, purchase: Purchase, region: str | None, client: str) -> Outcome:
        if region is not None:
            self.pool(region)
        place = await self._place(f"purchase {purchase.product_id} {purchase.user_ref} {purchase.quantity}")
        product = self._plan.choice(place, "product", PRODUCTS)
        answers: tuple[Answer, ...] = (
            Confirmed(CONFIRMED, 6),
            Held(HELD, 6),
            Replayed(CONFIRMED),
            Replayed(HELD),
            Cancelled(CANCELLED),
            Cancelled(LAPSED),
            SoldOut(0),
            SoldOut(2),
            NotOpen(NOW),
            Paused(),
            Closed(NOW),
            LimitReached(2, 1),
            Busy(750),
        )
        return Outcome(self._plan.choice(place, "decision", answers), product, 1, region or "home")

    async def create_product(self, product: NewProduct, operator: str) -> Product:
        await self._place(f"create {product.name} {product.stock}")
        return replace(PRODUCTS[0], name=product.name, stock=product.stock, opens_at=product.opens_at)

    async def restock(self, request: RestockRequest, client: str) -> Product:
        await self._place(f"restock {request.product_id} {request.delta}")
        return replace(PRODUCTS[0], stock=request.delta)

    async def change_product(self, product_id: UUID, change: Change, operator: str, action: Action) -> Product:
        await self._place(f"change {product_id} {operator} {action}")
        return change(PRODUCTS[0], NOW)

    async def cancel_order(
        self, order_id: UUID, user_ref: str | None, client: str, operator: str | None
    ) -> CancelledOrder:
        await self._place(f"cancel {order_id} {user_ref}")
        return CancelledOrder(CANCELLED, PRODUCTS[1], first=True)

    async def release_order(
        self, order_id: UUID, user_ref: str | None, client: str, operator: str | None
    ) -> CancelledOrder:
        await self._place(f"release {order_id} {user_ref}")
        return CancelledOrder(CONFIRMED, PRODUCTS[1], first=False)

    async def confirm_order(self, order_id: UUID, payment_ref: str, client: str) -> PaidOrder:
        place = await self._place(f"confirm {order_id} {payment_ref}")
        decisions: tuple[Paid | Gone, ...] = (
            Paid(CONFIRMED, first=True),
            Paid(CONFIRMED, first=False),
            Gone(CANCELLED),
            Gone(LAPSED),
        )
        return PaidOrder(self._plan.choice(place, "decision", decisions), PRODUCTS[1])

    def new_guest(self) -> GuestToken:
        if self._plan.number("guest", "refused") < self._plan.faults:
            raise RateLimited("too many guests", 60.0)
        return GuestToken("a token", "guest-1", 4_000_000_000)

    @property
    def _plan(self) -> Plan:
        return self.context.plan

    async def _place(self, call: str) -> str:
        """Return the place of a call, late if the plan has it so. Raises the fault that the plan has there."""
        context = self.context
        call = call.replace("/", "|").replace("~", "-")
        self.counts[call] += 1
        place = f"{call} #{self.counts[call]}"
        context.calls.append(place)
        await context.late(place, self._plan.how(place))
        what = self._plan.what(place, tuple(ERRORS))
        if what != GOOD:
            raise ERRORS[what]()
        return place

    def _rows(self, place: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows, some of them with an odd value in one column."""
        plan = self._plan
        for number, row in enumerate(rows):
            at = f"{place} {number}"
            if plan.number(at, "odd") < plan.faults:
                column = plan.choice(at, "column", [name for name in row if name not in READ_AT_ONCE])
                row[column] = ODD[plan.choice(at, "value", tuple(ODD))](row[column])
        return rows


def in_a_shop(plan: Plan, gate: Gate | None = None) -> Scripted:
    """A context of the real schema for one execution."""
    context = scripted(plan, gate)
    shop = Shop(context)
    caller = plan.choice("", "caller", CALLERS)
    return replace(context, drops=cast("Drops", shop), caller=caller, new_guest=shop.new_guest)
