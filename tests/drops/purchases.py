"""What the tests of purchases share: products, purchases, group commits, and the outcomes."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from api.database.pool import Pool, Transaction
from api.database.retry import RetryBudget
from api.drops import restocking
from api.drops.audit import audit
from api.drops.cancellation import CancelledOrder, cancel_order
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.new_product import NewProduct, create_product
from api.drops.products import Product
from api.drops.requests import Purchase, RestockRequest
from api.drops.shards import DEFAULT_SHARDS
from api.drops.ticket import Outcome
from tests.patience import PATIENCE, PATIENT_BUDGET

ONE_BY_ONE = GroupPolicy(size=1, executing=8, in_flight=8)
"""One purchase in each transaction: eight rivals at a time."""


class Unhurried(Pool):
    """A pool whose transactions do not end at their deadline, as a COMMIT in flight does not."""

    @asynccontextmanager
    async def begin(self, timeout: float = PATIENCE) -> AsyncIterator[Transaction]:
        async with super().begin(PATIENCE) as transaction:
            yield transaction


def purchase(product_id: UUID, user_ref: str = "ada", quantity: int = 1, key: str | None = None) -> Purchase:
    return Purchase.checked(product_id=product_id, user_ref=user_ref, quantity=quantity, idempotency_key=key)


async def new_product(
    pool: Pool,
    stock: int = 10,
    *,
    limit: int | None = None,
    opens_at: datetime | None = None,
    shards: int = DEFAULT_SHARDS,
    hold_seconds: int | None = None,
) -> UUID:
    product = NewProduct.checked(
        name="Tee",
        drop_name="First Light",
        stock=stock,
        limit_per_buyer=limit,
        opens_at=opens_at,
        shards=shards,
        hold_seconds=hold_seconds,
    )
    return (await create_product(pool, product, PATIENT_BUDGET)).id


def new_group_commit(
    pool: Pool, policy: GroupPolicy = GroupPolicy(), budget: RetryBudget = PATIENT_BUDGET, keep_events: bool = False
) -> GroupCommit:
    return GroupCommit(pool, policy, budget, publish=lambda product_id, shards: None, keep_events=keep_events)


async def submit_all(group_commits: Sequence[GroupCommit], purchases: Sequence[Purchase]) -> list[Outcome]:
    """Submit all purchases at once, to the group commits in turn."""
    tasks = [group_commits[number % len(group_commits)].submit(each) for number, each in enumerate(purchases)]
    return await asyncio.gather(*tasks)


def kinds(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(type(outcome.decision).__name__ for outcome in outcomes)


async def assert_books_balance(pool: Pool) -> None:
    assert [entry for entry in await audit(pool) if not entry.balanced] == []


async def cancel(
    pool: Pool, order_id: UUID, user_ref: str | None, budget: RetryBudget = PATIENT_BUDGET
) -> CancelledOrder:
    """Cancel an order through a group commit of its own, as another process would."""
    return await cancel_order(pool, new_group_commit(pool, budget=budget), order_id, user_ref, "", budget)


async def restock(pool: Pool, product_id: UUID, delta: int, budget: RetryBudget = PATIENT_BUDGET) -> Product:
    """Restock a product in a line of its own, as another process would."""
    request = RestockRequest.checked(product_id=product_id, delta=delta)
    return await restocking.restock(new_group_commit(pool, budget=budget), request)
