"""Decisions: what can become of a request. See `api.drops.sale` for how each is made."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from api.drops.orders import Order


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Sold. `remaining` units were left right after this purchase; later purchases of the group can leave fewer."""

    order: Order
    remaining: int


@dataclass(frozen=True, slots=True)
class Held:
    """The units are the buyer's until the order's `held_until`, and for good once they are paid. `remaining` as in
    Confirmed."""

    order: Order
    remaining: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """An earlier request under the same key bought the `order`. It is held or confirmed. Nothing was bought again."""

    order: Order


@dataclass(frozen=True, slots=True)
class Cancelled:
    """An earlier request under the same key bought the `order`, which has been cancelled or has lapsed since. Nothing
    was bought again."""

    order: Order


@dataclass(frozen=True, slots=True)
class SoldOut:
    """`remaining` units are left, fewer than the purchase is for."""

    remaining: int


@dataclass(frozen=True, slots=True)
class NotOpen:
    """The drop opens at `opens_at`, by the database's clock."""

    opens_at: datetime


@dataclass(frozen=True, slots=True)
class Paused:
    """The operator has paused the sale, until it is resumed."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The sale has ended: the drop closed at `closed_at`, or the product was archived then."""

    closed_at: datetime


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The buyer has `held` units in confirmed and held orders, and may have `limit`. The purchase is for more than the
    difference."""

    limit: int
    held: int


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The decision about a CancelRequest or a ReleaseRequest: the `order` as it is then. It is cancelled, unless it had
    lapsed, or was to be released and had been confirmed. `first`: this request cancelled it, no earlier one."""

    order: Order
    first: bool


@dataclass(frozen=True, slots=True)
class Paid:
    """The `order` is confirmed for the payment of a ConfirmRequest. `first`: by this request, and no earlier one."""

    order: Order
    first: bool


@dataclass(frozen=True, slots=True)
class Gone:
    """The payment of a ConfirmRequest came too late: the `order` is cancelled, or it has lapsed and its units cannot be
    taken again. It never will be confirmed, whatever becomes of the stock, so the payment can be refunded."""

    order: Order


@dataclass(frozen=True, slots=True)
class Lapsed:
    """The decision about a LapseRequest: so many orders have lapsed by it."""

    orders: int


@dataclass(frozen=True, slots=True)
class Restocked:
    """The decision about a RestockRequest: this request has added its units, or an earlier one under the same key."""


Decision: TypeAlias = (
    Confirmed
    | Held
    | Replayed
    | Cancelled
    | SoldOut
    | NotOpen
    | Paused
    | Closed
    | LimitReached
    | Cancellation
    | Paid
    | Gone
    | Lapsed
    | Restocked
)


def bought(order: Order, remaining: int) -> Confirmed | Held:
    """The decision about a purchase that has bought the order."""
    return Confirmed(order, remaining) if order.held_until is None else Held(order, remaining)
