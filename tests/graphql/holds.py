"""Holds of a shop that sells over HTTP: buying, paying, releasing, and running out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from api.database.pool import Pool
from api.drops.audit import audit
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.lapsing import Lapsing
from tests.graphql.callers import ADA, PIA, Shop
from tests.patience import PATIENT_BUDGET

HOLD = 600
"""Seconds of the holds: longer than any test."""

FIELDS = "id status heldUntil confirmedAt paymentRef reference quantity userRef product { stock }"
BUY = f"""
mutation ($product: ID!, $quantity: Int!, $key: String) {{
  purchase(input: {{ productId: $product, quantity: $quantity, idempotencyKey: $key }}) {{
    __typename status message
    ... on PurchaseHeld {{ order {{ {FIELDS} }} remaining heldUntil replayed }}
    ... on PurchaseConfirmed {{ order {{ {FIELDS} }} remaining replayed }}
    ... on PurchaseCancelled {{ order {{ {FIELDS} }} }}
    ... on PurchaseLimitReached {{ limit held }}
    ... on PurchaseSoldOut {{ remaining }}
  }}
}}
"""
CONFIRM = f"""
mutation ($orderId: ID!, $paymentRef: String!) {{
  confirmOrder(orderId: $orderId, paymentRef: $paymentRef) {{
    __typename
    ... on OrderConfirmed {{ replayed order {{ {FIELDS} }} }}
    ... on OrderGone {{ message order {{ {FIELDS} }} }}
  }}
}}
"""
RELEASE = f"""
mutation ($orderId: ID!, $userRef: String) {{ releaseOrder(orderId: $orderId, userRef: $userRef) {{ {FIELDS} }} }}
"""
CANCEL = f"mutation ($input: CancelOrderInput!) {{ cancelOrder(input: $input) {{ {FIELDS} }} }}"
ORDER = f"query ($id: ID!) {{ order(id: $id) {{ {FIELDS} createdAt }} }}"


@dataclass(frozen=True)
class Till:
    """A product with holds, what buyers do with it, and what the shop's other systems do."""

    shop: Shop
    pool: Pool
    product_id: str

    async def buy(self, buyer: str = ADA, quantity: int = 1, key: str | None = None) -> dict[str, Any]:
        """The outcome of a purchase."""
        variables = {"product": self.product_id, "quantity": quantity, "key": key}
        outcome: dict[str, Any] = (await self.data(BUY, variables, buyer))["purchase"]
        return outcome

    async def hold(self, buyer: str = ADA, quantity: int = 1) -> str:
        """The id of a new order that is held."""
        outcome = await self.buy(buyer, quantity)
        assert outcome["status"] == "HELD", outcome
        order_id: str = outcome["order"]["id"]
        return order_id

    async def confirm(self, order_id: str, payment_ref: str = "pi_1", caller: str = PIA) -> dict[str, Any]:
        """What became of a payment."""
        confirmed: dict[str, Any] = (await self.data(CONFIRM, self._payment(order_id, payment_ref), caller))[
            "confirmOrder"
        ]
        return confirmed

    async def refused_payment(self, order_id: str, payment_ref: str, caller: str = PIA) -> tuple[str, str]:
        """The code and the message of the error that a payment gets."""
        return await self.refusal(CONFIRM, self._payment(order_id, payment_ref), caller)

    async def release(self, order_id: str, caller: str = ADA) -> dict[str, Any]:
        """The order after its release."""
        order: dict[str, Any] = (await self.data(RELEASE, {"orderId": order_id}, caller))["releaseOrder"]
        return order

    async def cancel(self, order_id: str, caller: str = ADA) -> dict[str, Any]:
        """The order after its cancellation."""
        order: dict[str, Any] = (await self.data(CANCEL, {"input": {"orderId": order_id}}, caller))["cancelOrder"]
        return order

    async def order(self, order_id: str, caller: str = ADA) -> dict[str, Any]:
        order: dict[str, Any] = (await self.data(ORDER, {"id": order_id}, caller))["order"]
        return order

    async def refusal(self, document: str, variables: dict[str, Any], caller: str) -> tuple[str, str]:
        return await self.shop.server.refusal(document, variables, token=self.shop.token(caller))

    async def run_out(self, order_id: str) -> None:
        """Let the hold run out."""
        moved = "UPDATE orders SET held_until = now() - interval '1 second' WHERE id = $1 AND held_until IS NOT NULL"
        assert await self.pool.execute(moved, UUID(order_id)) == "UPDATE 1"

    async def lapse(self, order_id: str) -> None:
        """Let the hold run out, and end it now, as another process does. The server's own look may come later."""
        await self.run_out(order_id)
        other = GroupCommit(self.pool, GroupPolicy(), PATIENT_BUDGET, lambda *_: None, keep_events=True)
        await Lapsing(self.pool, other).end_holds()

    async def assert_balanced(self, *, stock: int, held: int, sold: int) -> None:
        """Check the product's books: so many units are in stock, held and sold, and that is all of them."""
        [books] = [entry for entry in await audit(self.pool) if str(entry.product_id) == self.product_id]
        assert books.balanced
        assert (books.stock, books.held, books.sold) == (stock, held, sold)

    @staticmethod
    def _payment(order_id: str, payment_ref: str) -> dict[str, Any]:
        return {"orderId": order_id, "paymentRef": payment_ref}

    async def data(self, document: str, variables: dict[str, Any], caller: str) -> dict[str, Any]:
        """What an operation returns, which must succeed."""
        return await self.shop.server.data(document, variables, token=self.shop.token(caller))


OpenTill: TypeAlias = Callable[..., Awaitable[Till]]
"""Makes a product with holds. Takes its stock, and other values of CreateProductInput."""
