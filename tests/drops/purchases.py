"""What the tests of purchases share: products, wishes, lines, and what became of them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.audit import audit
from api.drops.group_commit import GroupCommit, GroupPolicy, Outcome
from api.drops.products import NewProduct, create_product
from api.drops.purchase import Purchase

ONE_BY_ONE = GroupPolicy(size=1, in_flight=20)


def wish(product_id: UUID, user_ref: str = "ada", quantity: int = 1, key: str | None = None) -> Purchase:
    return Purchase.checked(product_id=product_id, user_ref=user_ref, quantity=quantity, idempotency_key=key)


async def new_product(pool: Pool, stock: int, *, limit: int | None = None, opens_at: datetime | None = None) -> UUID:
    product = NewProduct.checked(
        name="Tee", drop_name="First Light", stock=stock, limit_per_buyer=limit, opens_at=opens_at
    )
    return (await create_product(pool, product)).id


def line(pool: Pool, policy: GroupPolicy = GroupPolicy(), budget: RetryBudget = RetryBudget()) -> GroupCommit:
    return GroupCommit(pool, policy, budget, on_commit=lambda level: None)


def kinds(outcomes: Sequence[Outcome]) -> Counter[str]:
    return Counter(type(outcome.decision).__name__ for outcome in outcomes)


async def assert_books_balance(pool: Pool) -> None:
    assert [entry for entry in await audit(pool) if not entry.balanced] == []
