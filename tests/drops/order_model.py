"""A plain model of the orders of one product: what each request must be answered, decided one after the other.

It knows no groups, no transactions and no rows. It is written from the description of an order's life alone, so that it
and the server can only agree if both are right.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from api.drops.decisions import (
    Cancellation,
    Cancelled,
    Closed,
    Confirmed,
    Decision,
    Gone,
    Held,
    Lapsed,
    LimitReached,
    NotOpen,
    Paid,
    Paused,
    Replayed,
    Restocked,
    SoldOut,
)
from api.drops.errors import DropError
from api.drops.requests import (
    CancelRequest,
    ConfirmRequest,
    LapseRequest,
    Purchase,
    ReleaseRequest,
    Request,
    RestockRequest,
)

Verdict: TypeAlias = tuple[str | int | bool | None, ...]
"""A decision without what only the database knows: its name, and then what the model foretells of it."""


@dataclass
class ModelOrder:
    """An order of the model. `payment`: that confirmed it. `refused`: whether a payment was answered that it is gone.
    `run_out`: whether the time to pay is over."""

    buyer: str
    quantity: int
    status: str
    payment: str | None = None
    refused: bool = False
    run_out: bool = False

    @property
    def has_units(self) -> bool:
        return self.status in ("HELD", "CONFIRMED")


@dataclass
class Model:
    """One product, its orders by their ids, and its restocks."""

    stock: int
    limit: int | None
    holds: bool
    stocked: int = field(init=False)
    orders: dict[UUID, ModelOrder] = field(default_factory=dict)
    restocks: dict[UUID, int] = field(default_factory=dict)
    events: list[tuple[str, UUID | None]] = field(default_factory=list)
    """What has happened: an event's type, and its order."""

    def __post_init__(self) -> None:
        self.stocked = self.stock

    @property
    def holdings(self) -> Counter[str]:
        """The units of each buyer, in held and confirmed orders."""
        units = Counter[str]()
        for order in self.orders.values():
            units[order.buyer] += order.quantity if order.has_units else 0
        return +units

    def run_out(self, order_id: UUID) -> None:
        """The time to pay of an order is over."""
        order = self.orders.get(order_id)
        if order is not None and order.status == "HELD":
            order.run_out = True

    def answer(self, request: Request) -> Verdict:
        """Decide a request, and keep what it does."""
        if isinstance(request, RestockRequest):
            return self._restock(request)
        if isinstance(request, LapseRequest):
            return "Lapsed", sum(self._lapse(order_id) for order_id, _ in request.orders)
        if isinstance(request, Purchase):
            return self._buy(request)
        order = self.orders.get(request.order_id)
        if order is None:
            return ("NotFound",)
        if isinstance(request, ConfirmRequest):
            return self._pay(order, request)
        return self._end(order, request)

    def _buy(self, wanted: Purchase) -> Verdict:
        order = self.orders.get(wanted.order_id)
        if order is not None:
            if order.quantity != wanted.quantity:
                return ("IdempotencyKeyReused",)
            return "Replayed" if order.has_units else "Cancelled", order.status
        held = self.holdings[wanted.user_ref]
        if self.limit is not None and held + wanted.quantity > self.limit:
            return "LimitReached", held
        if wanted.quantity > self.stock:
            return "SoldOut", self.stock
        self.stock -= wanted.quantity
        status = "HELD" if self.holds else "CONFIRMED"
        self.orders[wanted.order_id] = ModelOrder(wanted.user_ref, wanted.quantity, status)
        self.events.append((f"order.{status.lower()}", wanted.order_id))
        return status.capitalize(), self.stock

    def _end(self, order: ModelOrder, request: CancelRequest) -> Verdict:
        if request.user_ref not in (None, order.buyer):
            return ("NotFound",)
        only_held = isinstance(request, ReleaseRequest)
        if order.status != "HELD" and (only_held or order.status != "CONFIRMED"):
            return "Cancellation", order.status, False
        self.stock += order.quantity
        order.status = "CANCELLED"
        self.events.append(("order.cancelled", request.order_id))
        return "Cancellation", "CANCELLED", True

    def _pay(self, order: ModelOrder, request: ConfirmRequest) -> Verdict:
        payment = request.payment_ref
        if order.status == "CONFIRMED":
            return ("Paid", payment, False) if order.payment == payment else ("AlreadyConfirmed",)
        if order.status == "CANCELLED" or order.refused:
            return "Gone", order.status
        if order.status == "LAPSED":
            limit = self.limit is not None and self.holdings[order.buyer] + order.quantity > self.limit
            if limit or self.stock < order.quantity:
                order.refused = True
                return "Gone", "LAPSED"
            self.stock -= order.quantity
        order.status, order.payment = "CONFIRMED", payment
        self.events.append(("order.confirmed", request.order_id))
        return "Paid", payment, True

    def _lapse(self, order_id: UUID) -> bool:
        order = self.orders.get(order_id)
        if order is None or order.status != "HELD" or not order.run_out:
            return False
        order.status = "LAPSED"
        self.stock += order.quantity
        self.events.append(("order.lapsed", order_id))
        return True

    def _restock(self, request: RestockRequest) -> Verdict:
        earlier = self.restocks.get(request.restock_id)
        if earlier is not None:
            return ("Restocked",) if earlier == request.delta else ("IdempotencyKeyReused",)
        if self.stock + request.delta < 0:
            return ("InvalidInput",)
        self.stock += request.delta
        self.stocked += request.delta
        self.restocks[request.restock_id] = request.delta
        self.events.append(("product.restocked", None))
        return ("Restocked",)


def verdict(decision: Decision | DropError) -> Verdict:
    """What the model foretells of a decision."""
    name = type(decision).__name__
    match decision:
        case Confirmed(remaining=remaining) | Held(remaining=remaining) | SoldOut(remaining=remaining):
            return name, remaining
        case Replayed(order=order) | Cancelled(order=order) | Gone(order=order):
            return name, order.status.value
        case LimitReached(held=held):
            return name, held
        case Cancellation(order=order, first=first):
            return name, order.status.value, first
        case Paid(order=order, first=first):
            return name, order.payment_ref, first
        case Lapsed(orders=orders):
            return name, orders
        case Restocked() | DropError():
            return (name,)
        case NotOpen() | Paused() | Closed():
            raise AssertionError("the model's products are open")


def assert_units_are_somewhere(model: Model, holdings: Mapping[str, int]) -> None:
    """Every unit is in stock, held or sold, and each buyer's `holdings` are those of the orders."""
    assert model.stock >= 0
    assert model.stocked == model.stock + model.holdings.total()
    if model.limit is not None:
        assert +Counter(holdings) == model.holdings
        assert max(model.holdings.values(), default=0) <= model.limit
