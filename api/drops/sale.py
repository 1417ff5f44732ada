"""The sale: what becomes of each request of a group, decided without a database."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from api.drops.decisions import (
    Cancellation,
    Cancelled,
    Closed,
    Decision,
    Gone,
    Lapsed,
    LimitReached,
    NotOpen,
    Paid,
    Paused,
    Replayed,
    Restocked,
    SoldOut,
    bought,
)
from api.drops.errors import AlreadyConfirmed, DropError, IdempotencyKeyReused, InvalidInput, NotFound
from api.drops.events import EventType, Happening
from api.drops.limits import MAX_UNITS
from api.drops.operator_log import Action, FieldChange, Step
from api.drops.orders import Order, OrderStatus
from api.drops.products import Product
from api.drops.requests import (
    CancelRequest,
    ConfirmRequest,
    LapseRequest,
    Purchase,
    ReleaseRequest,
    Request,
    RestockRequest,
)
from api.drops.shards import Shard


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a transaction has read: the product and its shards, the orders and the deltas of restocks by their ids, and,
    if the product keeps holdings, the units in each buyer's confirmed and held orders (`held`). Those of the buyers
    `to_keep` were read from many orders, and become a holding. `now` is the database's clock."""

    now: datetime
    product: Product
    shards: Sequence[Shard]
    orders: Mapping[UUID, Order]
    restocks: Mapping[UUID, int]
    held: Mapping[str, int]
    to_keep: Set[str] = frozenset()


class Sale:
    """Decides each request of a group by itself, first come first served, against one snapshot of the database.

    A decision counts for the requests behind it: its units, its buyer's units, its order.
    """

    def __init__(self, snapshot: Snapshot, region: str) -> None:
        self.product = snapshot.product
        self.snapshot = snapshot
        self._orders = dict(snapshot.orders)
        self._restocks = dict(snapshot.restocks)
        self._held = dict(snapshot.held)
        self._region = region
        self._closed_at = snapshot.product.closed_at(snapshot.now)
        self._stock = snapshot.product.stock
        self._stocked = snapshot.product.stocked
        self.decisions: list[Decision | DropError] = []
        self.settled: dict[int, Decision | DropError] = {}
        """The decisions, by position, about orders and restocks that are stored as they should be. The transaction
        writes nothing for them, so they are true even if it fails."""
        self.placed: list[Order] = []
        """Orders to insert."""
        self.changed: dict[UUID, Order] = {}
        """Orders to change, by id."""
        self.restocked: list[RestockRequest] = []
        """Restocks to insert."""
        self.happenings: list[Happening] = []
        """What happens if the transaction is committed."""
        self.steps: list[Step] = []
        """What operators do by it."""
        self.moves = False
        """Whether units move between the stock and buyers."""

    @property
    def units(self) -> int:
        """Units to take from the stock. Negative when the decisions add more units than they sell."""
        return self.product.stock - self._stock

    @property
    def stocked(self) -> int:
        """Units that the restocks add to those ever put in."""
        return self._stocked - self.product.stocked

    @property
    def holdings(self) -> dict[str, int]:
        """The units of each buyer, where they have to be stored; nothing for a product without holdings."""
        if not self.product.keeps_holdings:
            return {}
        held, to_keep = self.snapshot.held, self.snapshot.to_keep
        return {buyer: units for buyer, units in self._held.items() if units != held.get(buyer) or buyer in to_keep}

    @property
    def written(self) -> set[UUID]:
        """The ids of the orders and restocks to write."""
        placed, restocked = {order.id for order in self.placed}, {row.restock_id for row in self.restocked}
        return placed | self.changed.keys() | restocked

    def status_before(self, order_id: UUID) -> OrderStatus:
        """The status that an order to change is stored with when it is changed."""
        stored = self.snapshot.orders.get(order_id)
        if stored is None:
            stored = next(order for order in self.placed if order.id == order_id)
        return stored.status

    def decide(self, request: Request) -> None:
        """Add the decision about a request."""
        settled = False
        decision: Decision | DropError
        if isinstance(request, RestockRequest):
            settled = request.restock_id in self.snapshot.restocks
            decision = self._restock(request)
        elif isinstance(request, LapseRequest):
            decision = self._lapse(request)
        else:
            order = self._orders.get(request.order_id)
            if isinstance(request, Purchase):
                decision = self._buy(request, order)
            elif order is None:
                decision = NotFound(f"there is no order {request.order_id}")
            elif isinstance(request, ConfirmRequest):
                decision = self._confirm(request, order)
            else:
                decision = self._cancel(request, order)
            settled = order is not None and self.snapshot.orders.get(order.id) is self._orders[order.id]
        if settled:
            self.settled[len(self.decisions)] = decision
        self.decisions.append(decision)

    def _buy(self, purchase: Purchase, earlier: Order | None) -> Decision | DropError:
        """`earlier` is the order that has the id of this purchase's order."""
        now, opens_at = self.snapshot.now, self.product.opens_at
        limit = self.product.limit_per_buyer
        held = self._held.get(purchase.user_ref, 0)
        if earlier is not None and earlier.quantity != purchase.quantity:
            return IdempotencyKeyReused(
                f"this idempotencyKey was used to buy {earlier.quantity}, not {purchase.quantity}; "
                "use a new key for a new purchase"
            )
        if earlier is not None:
            return Replayed(earlier) if earlier.status.has_units else Cancelled(earlier)
        if self._closed_at is not None:
            return Closed(self._closed_at)
        if opens_at is not None and opens_at > now:
            return NotOpen(opens_at)
        if self.product.paused_at is not None:
            return Paused()
        if limit is not None and held + purchase.quantity > limit:
            return LimitReached(limit, held)
        if purchase.quantity > self._stock:
            return SoldOut(self._stock)
        order = purchase.placed(self.product, self._region, now)
        self._move_units(order, -order.quantity)
        self._orders[order.id] = order
        self.placed.append(order)
        type_ = EventType.ORDER_CONFIRMED if order.held_until is None else EventType.ORDER_HELD
        self.happenings.append(Happening(type_, order))
        return bought(order, self._stock)

    def _cancel(self, request: CancelRequest, order: Order) -> Decision | DropError:
        if request.user_ref is not None and request.user_ref != order.user_ref:
            return NotFound(f"there is no order {request.order_id}")
        stays = isinstance(request, ReleaseRequest) and order.status is OrderStatus.CONFIRMED
        if stays or not order.status.has_units:
            return Cancellation(order, first=False)
        cancelled = replace(order, status=OrderStatus.CANCELLED, held_until=None)
        self._move_units(order, order.quantity)
        self._change(cancelled, EventType.ORDER_CANCELLED)
        if request.operator is not None:
            released = isinstance(request, ReleaseRequest)
            action = Action.ORDER_RELEASED if released else Action.ORDER_CANCELLED
            change = FieldChange("status", order.status.value, cancelled.status.value)
            self.steps.append(Step(request.operator, action, (change,), self.product.id, order.id))
        return Cancellation(cancelled, first=True)

    def _confirm(self, request: ConfirmRequest, order: Order) -> Decision | DropError:
        if order.status is OrderStatus.CONFIRMED:
            return Paid(order, first=False) if order.payment_ref == request.payment_ref else _confirmed_before(order)
        if order.status is OrderStatus.CANCELLED:
            return Gone(order)
        if order.status is OrderStatus.LAPSED:
            if order.payment_ref is not None:
                return Gone(order)
            if not self._has_room_for(order):
                # From now on the order is gone for every payment. Otherwise this payment, once refunded, could still
                # confirm it after a restock, when the request is sent again.
                gone = replace(order, payment_ref=request.payment_ref)
                self._change(gone)
                return Gone(gone)
            self._move_units(order, -order.quantity)
        paid = replace(
            order,
            status=OrderStatus.CONFIRMED,
            held_until=None,
            confirmed_at=self.snapshot.now,
            payment_ref=request.payment_ref,
        )
        self._change(paid, EventType.ORDER_CONFIRMED)
        return Paid(paid, first=True)

    def _lapse(self, request: LapseRequest) -> Lapsed:
        lapsed = 0
        for order_id, _ in request.orders:
            order = self._orders.get(order_id)
            if order is None or order.held_until is None or order.held_until > self.snapshot.now:
                continue  # it has been paid or cancelled, or another process has ended it
            if order.status is OrderStatus.CANCELLED:  # by an earlier version, which has returned the units
                self._change(replace(order, held_until=None))
                continue
            self._move_units(order, order.quantity)
            self._change(replace(order, status=OrderStatus.LAPSED, held_until=None), EventType.ORDER_LAPSED)
            lapsed += 1
        return Lapsed(lapsed)

    def _restock(self, request: RestockRequest) -> Decision | DropError:
        delta, earlier = request.delta, self._restocks.get(request.restock_id)
        if earlier is not None and earlier != delta:
            return IdempotencyKeyReused(
                f"this idempotencyKey was used to restock {earlier}, not {delta}; use a new key for a new restock"
            )
        if earlier is not None:
            return Restocked()
        if self._stock + delta < 0:
            return InvalidInput(f"the stock is {self._stock}; {-delta} units cannot be taken back from it", "delta")
        if self._stocked + delta > MAX_UNITS:
            return InvalidInput(f"no more than {MAX_UNITS} units can ever be put into one product", "delta")
        if request.operator is not None:
            change = FieldChange.of("stock", self._stock, self._stock + delta)
            self.steps.append(Step(request.operator, Action.PRODUCT_RESTOCKED, (change,), self.product.id))
        self._stock += delta
        self._stocked += delta
        self._restocks[request.restock_id] = delta
        self.restocked.append(request)
        self.happenings.append(Happening(EventType.PRODUCT_RESTOCKED, delta=delta))
        return Restocked()

    def _has_room_for(self, order: Order) -> bool:
        """Whether an order that has lapsed can have its units again."""
        limit = self.product.limit_per_buyer
        within = limit is None or self._held.get(order.user_ref, 0) + order.quantity <= limit
        return within and order.quantity <= self._stock

    def _move_units(self, order: Order, units: int) -> None:
        """Add units to the stock, and remove them from the buyer's; or the other way round, if `units` is negative."""
        self.moves = True
        self._stock += units
        self._held[order.user_ref] = self._held.get(order.user_ref, 0) - units

    def _change(self, order: Order, event: EventType | None = None) -> None:
        self._orders[order.id] = self.changed[order.id] = order
        if event is not None:
            self.happenings.append(Happening(event, order))


def _confirmed_before(order: Order) -> AlreadyConfirmed:
    """The error for a payment of an order that has been confirmed without it."""
    if order.payment_ref is None:
        return AlreadyConfirmed(f"the order {order.id} was final at once and needs no payment; refund this one")
    return AlreadyConfirmed(f"the order {order.id} was confirmed for another payment; refund this one")
