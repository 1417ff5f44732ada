"""Changes of a product by operators: one moment for all processes, one winner, one entry in the log."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.decisions import Closed, Confirmed, NotOpen, Paused
from api.drops.errors import InvalidInput, NotFound, StaleRevision
from api.drops.operator_log import Action, FieldChange, list_log
from api.drops.product_changes import Change, ProductUpdate, archive, change_product, pause, resume
from api.drops.products import Product, get_product, list_products
from tests.drops.holds import cancellation
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase
from tests.drops.watching import OFTEN, next_change, publishing
from tests.patience import PATIENT_BUDGET

OPENS = datetime(2027, 1, 1, 10, tzinfo=UTC)
CLOSES = OPENS + timedelta(hours=1)
NEW: Mapping[str, Any] = {
    "name": "Hoodie",
    "description": "Warm.\nBlack.",
    "opens_at": OPENS,
    "closes_at": CLOSES,
    "limit_per_buyer": 2,
    "hold_seconds": 60,
}


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def change(pool: Pool, product_id: UUID, how: Change, action: Action = Action.PRODUCT_UPDATED) -> Product:
    return (await change_product(pool, product_id, how, "olga", action, PATIENT_BUDGET)).product


async def update(pool: Pool, product_id: UUID, **values: Any) -> Product:
    """Change a product as it is now."""
    revision = (await get_product(pool, product_id)).revision
    return await change(pool, product_id, ProductUpdate.checked(product_id, revision, values).apply)


async def actions(pool: Pool, product_id: UUID) -> list[tuple[str, tuple[FieldChange, ...]]]:
    page = await list_log(pool, 100, product_id=product_id)
    assert all(entry.step.operator == "olga" for entry in page.items)
    return [(entry.step.action.value, entry.step.changes) for entry in reversed(page.items)]


@pytest.mark.parametrize("field", NEW)
async def test_a_field_is_changed_and_cleared_and_the_others_stay(pool: Pool, field: str) -> None:
    product_id = await new_product(pool)
    before = await get_product(pool, product_id)

    changed = await update(pool, product_id, **{field: NEW[field]})
    assert getattr(changed, field) == NEW[field]
    assert changed.revision == 1
    others = set(Product.__slots__) - {field, "revision", "version", "limit_changed_at", "read_at"}
    assert {name: getattr(changed, name) for name in others} == {name: getattr(before, name) for name in others}

    if field != "name":
        assert getattr(await update(pool, product_id, **{field: None}), field) is None


async def test_of_two_operators_with_the_same_revision_one_changes_the_product(pool: Pool) -> None:
    product_id = await new_product(pool)
    names = [f"Tee {number}" for number in range(5)]
    changes = [change(pool, product_id, ProductUpdate.checked(product_id, 0, {"name": name}).apply) for name in names]
    results = await asyncio.gather(*changes, return_exceptions=True)

    [changed] = [result for result in results if isinstance(result, Product)]
    assert sum(isinstance(result, StaleRevision) for result in results) == 4
    assert await get_product(pool, product_id) == changed
    assert await actions(pool, product_id) == [("PRODUCT_UPDATED", (FieldChange("name", "Tee", changed.name),))]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": None}, "name must not be null"),
        ({"name": ""}, "name must have 1"),
        ({"description": "a\0b"}, r"U\+0000"),
        ({"opens_at": CLOSES, "closes_at": OPENS}, "later than opensAt"),
        ({"closes_at": datetime(2027, 1, 1)}, "UTC offset"),
        ({"limit_per_buyer": 0}, "between 1"),
        ({"hold_seconds": 29}, "between 30"),
    ],
)
async def test_values_that_can_never_work_change_nothing(pool: Pool, values: dict[str, Any], message: str) -> None:
    product_id = await new_product(pool)
    with pytest.raises(InvalidInput, match=message):
        await update(pool, product_id, **values)
    assert (await get_product(pool, product_id)).revision == 0
    assert await actions(pool, product_id) == []


async def test_a_product_that_does_not_exist_cannot_be_changed(pool: Pool) -> None:
    with pytest.raises(NotFound):
        await change(pool, UUID(int=5), pause)


@pytest.mark.parametrize(("how", "decision"), [(pause, Paused), (archive, Closed)], ids=["paused", "archived"])
async def test_nothing_is_sold_after_the_answer_and_it_is_sold_again_when_resumed(
    pool: Pool, how: Change, decision: type
) -> None:
    product_id = await new_product(pool, stock=100_000)
    lines = [new_group_commit(pool) for _ in range(3)]
    running = True

    async def buy(number: int) -> None:
        sold = 0
        while running:
            outcome = await lines[number % 3].submit(purchase(product_id, f"buyer-{number}-{sold}"))
            sold += isinstance(outcome.decision, Confirmed)

    buyers = [asyncio.create_task(buy(number)) for number in range(12)]
    try:
        while (await get_product(pool, product_id)).stock > 99_950:
            await asyncio.sleep(0)
        stopped = await change(pool, product_id, how)
        later = [await get_product(pool, product_id) for _ in range(20)]
    finally:
        running = False
        await asyncio.gather(*buyers)
    assert {product.stock for product in later} == {stopped.stock}

    assert isinstance((await lines[0].submit(purchase(product_id, "late"))).decision, decision)
    assert (await get_product(pool, product_id)).stock == stopped.stock
    await change(pool, product_id, resume)
    assert isinstance((await lines[0].submit(purchase(product_id, "late"))).decision, Confirmed)
    await assert_books_balance(pool)


async def test_nothing_is_sold_after_an_archiving_at_an_endpoint_whose_clock_is_ahead(pool: Pool) -> None:
    """`now()` is the clock of the endpoint that a transaction goes through, and two of them can differ."""
    product_id = await new_product(pool)
    await change(pool, product_id, archive)
    await pool.execute("UPDATE products SET archived_at = now() + interval '1 minute' WHERE id = $1", product_id)
    archived_at = (await get_product(pool, product_id)).archived_at
    assert archived_at is not None
    assert (await new_group_commit(pool).submit(purchase(product_id))).decision == Closed(archived_at)


async def test_a_group_that_buys_as_much_as_it_returns_cannot_pass_a_change(pool: Pool) -> None:
    """Its stock stays the same, and it writes a shard all the same: a change would not notice it otherwise."""
    product_id = await new_product(pool)
    line = new_group_commit(pool)
    bought = (await line.submit(purchase(product_id, "ada"))).decision
    assert isinstance(bought, Confirmed)
    version = (await get_product(pool, product_id)).version

    await asyncio.gather(line.submit(cancellation(bought.order)), line.submit(purchase(product_id, "bob")))
    product = await get_product(pool, product_id)
    assert (product.stock, product.version > version) == (9, True)


@pytest.mark.parametrize(("how", "field"), [(pause, "paused_at"), (archive, "archived_at")])
async def test_the_same_step_twice_is_one(pool: Pool, how: Change, field: str) -> None:
    product_id = await new_product(pool)
    first = await change(pool, product_id, how)
    assert getattr(first, field) is not None
    assert await change(pool, product_id, how) == first
    assert len(await actions(pool, product_id)) == 1


async def test_an_archived_product_is_off_the_list(pool: Pool) -> None:
    kept, product_id = await new_product(pool), await new_product(pool)
    await change(pool, product_id, archive)

    assert [product.id for product in (await list_products(pool, 10)).items] == [kept]
    assert [product.id for product in (await list_products(pool, 10, archived=True)).items] == [product_id]


async def test_a_drop_closes_by_the_clock_of_the_database(pool: Pool) -> None:
    product_id = await new_product(pool)
    line = new_group_commit(pool)
    bought = (await line.submit(purchase(product_id, "ada", key="k"))).decision
    assert isinstance(bought, Confirmed)

    await update(pool, product_id, closes_at=bought.order.created_at)
    late = (await line.submit(purchase(product_id, "bob"))).decision
    assert late == Closed(bought.order.created_at)
    replayed = (await line.submit(purchase(product_id, "ada", key="k"))).decision
    assert type(replayed).__name__ == "Replayed"  # an order that stands is found for ever

    await update(pool, product_id, opens_at=OPENS, closes_at=CLOSES)
    await change(pool, product_id, pause)
    assert (await line.submit(purchase(product_id, "bob"))).decision == NotOpen(OPENS)


async def test_a_change_that_was_begun_by_a_killed_process_ends_by_itself(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool)
    await behind.execute("UPDATE products SET changing_until = now() + interval '300 ms' WHERE id = $1", product_id)
    outcome = await new_group_commit(pool).submit(purchase(product_id))
    assert isinstance(outcome.decision, Confirmed)
    assert outcome.attempts > 1


async def test_watchers_are_sent_the_revision(pool: Pool) -> None:
    product_id = await new_product(pool)
    async with publishing(pool, OFTEN) as publisher, publisher.watch([product_id]) as watcher:
        assert (await next_change(watcher)).level.revision == 0
        await change(pool, product_id, pause)
        level = (await next_change(watcher)).level
        assert (level.stock, level.revision) == (10, 1)


async def test_the_log_has_what_was_before_and_after(pool: Pool) -> None:
    product_id = await new_product(pool)
    await update(pool, product_id, opens_at=OPENS, limit_per_buyer=2)
    await update(pool, product_id, limit_per_buyer=None, name="Hoodie")
    paused = await change(pool, product_id, pause, Action.PRODUCT_PAUSED)

    assert paused.paused_at is not None
    limited = FieldChange("limitPerBuyer", None, "2")
    at = paused.paused_at.isoformat().replace("+00:00", "Z")
    assert await actions(pool, product_id) == [
        ("PRODUCT_UPDATED", (FieldChange("opensAt", None, "2027-01-01T10:00:00Z"), limited)),
        ("PRODUCT_UPDATED", (FieldChange("name", "Tee", "Hoodie"), FieldChange("limitPerBuyer", "2", None))),
        ("PRODUCT_PAUSED", (FieldChange("pausedAt", None, at),)),
    ]
