"""A purchase gets a line only if its product exists, or while the database is away."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.drops import known_products
from api.drops.decisions import Confirmed
from api.drops.drops import Drops
from api.drops.errors import NotFound
from api.drops.group_policy import GroupPolicy
from api.drops.known_products import KnownProducts
from api.drops.stock import PollingTimes
from tests.drops.purchases import kinds, new_product, purchase
from tests.drops.watching import CountingPool
from tests.faults import Faulty
from tests.locks import table_locked
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES, short, until


@pytest.fixture
async def known(counting: CountingPool) -> AsyncIterator[KnownProducts]:
    known = KnownProducts(counting)
    yield known
    await known.close()


@pytest.fixture
async def drops(faulty: Faulty) -> AsyncIterator[Drops]:
    """The drops of a server, through an endpoint that can fail."""
    regions = Regions((Endpoint("here", faulty.url),), connections=5, times=PATIENT_TIMES)
    drops = Drops(regions, GroupPolicy(), PATIENT_BUDGET, PollingTimes(timeout=PATIENCE))
    await drops.open()
    yield drops
    await drops.close(grace=PATIENCE)


async def outcome_of(known: KnownProducts, product_id: UUID) -> str:
    try:
        await known.require(product_id)
    except NotFound as error:
        return "unknown" if str(error) == f"there is no product {product_id}" else str(error)
    return "known"


async def test_a_product_is_looked_up_once(pool: Pool, counting: CountingPool, known: KnownProducts) -> None:
    product_id = await new_product(pool)

    assert [await outcome_of(known, product_id) for _ in range(10)] == ["known"] * 10
    assert len(counting.reads) == 1


async def test_many_lookups_at_once_share_one_read(pool: Pool, counting: CountingPool, known: KnownProducts) -> None:
    product_ids = [await new_product(pool) for _ in range(5)]
    unknown = [uuid4() for _ in range(200)]

    outcomes = await asyncio.gather(*(outcome_of(known, each) for each in (*product_ids, *unknown, *product_ids)))

    assert outcomes == ["known"] * 5 + ["unknown"] * 200 + ["known"] * 5
    assert len(counting.reads) == 1


async def test_a_product_that_did_not_exist_is_looked_up_again(
    pool: Pool, counting: CountingPool, known: KnownProducts
) -> None:
    nowhere = uuid4()
    assert [await outcome_of(known, nowhere) for _ in range(2)] == ["unknown"] * 2
    assert len(counting.reads) == 2

    await pool.execute(
        "INSERT INTO products (id, name, drop_name, created_at) VALUES ($1, 'Tee', 'First Light', now())", nowhere
    )
    assert await outcome_of(known, nowhere) == "known"


async def test_known_products_are_bounded(
    pool: Pool, counting: CountingPool, known: KnownProducts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_products, "MAX_KNOWN", 3)
    product_ids = [await new_product(pool) for _ in range(4)]

    for product_id in product_ids:
        assert await outcome_of(known, product_id) == "known"
    assert len(known._known) <= 3
    assert [await outcome_of(known, product_id) for product_id in product_ids] == ["known"] * 4


async def test_an_unknown_product_gets_no_line(drops: Drops) -> None:
    purchases = [purchase(uuid4(), f"buyer-{number}") for number in range(300)]

    answers = await asyncio.gather(
        *(drops.purchase(purchase, None, "a client") for purchase in purchases), return_exceptions=True
    )

    assert {type(answer) for answer in answers} == {NotFound}
    for group_commit in drops.group_commits.values():
        assert (group_commit.unanswered, group_commit.transactions, group_commit.outcomes) == (0, {}, {})


async def test_while_the_database_is_away_a_purchase_waits_in_its_line(
    pool: Pool, drops: Drops, faulty: Faulty
) -> None:
    product_id = await new_product(pool)
    faulty.down()
    buying = asyncio.create_task(drops.purchase(purchase(product_id), None, "a client"))
    nothing = asyncio.create_task(drops.purchase(purchase(uuid4()), None, "a client"))
    await until(lambda: drops.group_commits[None].unanswered == 2)
    await faulty.up()

    assert isinstance((await buying).decision, Confirmed)
    with pytest.raises(NotFound):
        await nothing


async def test_a_purchase_of_a_known_product_waits_for_no_lookup(pool: Pool, behind: Pool, drops: Drops) -> None:
    product_id = await new_product(pool)
    await drops.purchase(purchase(product_id, "first"), None)
    held, release = asyncio.Event(), asyncio.Event()
    read = drops.known_products._reads._read

    async def slow(ids: list[UUID]) -> object:
        held.set()
        await release.wait()
        return await read(ids)

    drops.known_products._reads._read = slow  # type: ignore[assignment]
    of_unknown = asyncio.create_task(drops.purchase(purchase(uuid4()), None))
    async with asyncio.timeout(PATIENCE):
        await held.wait()
        outcomes = [await drops.purchase(purchase(product_id, f"buyer-{number}"), None) for number in range(3)]

    assert kinds(outcomes) == {"Confirmed": 3}
    assert not of_unknown.done()
    release.set()
    with pytest.raises(NotFound):
        await of_unknown


async def test_a_slow_lookup_counts_towards_the_deadline_of_the_purchase(behind: Pool, faulty: Faulty) -> None:
    product_id = await new_product(behind, stock=5)
    regions = Regions((Endpoint("here", faulty.url),), connections=5, times=PATIENT_TIMES)
    drops = Drops(regions, GroupPolicy(), RetryBudget(seconds=short(0.2)), PollingTimes(timeout=PATIENCE))
    await drops.open()
    try:
        async with table_locked(behind, "products"):
            outcome = await drops.purchase(purchase(product_id), None)

            assert kinds([outcome]) == {"Busy": 1}
            assert drops.known_products._reads._reading is not None, "the lookup is to last longer than the purchase"
    finally:
        await drops.close(grace=PATIENCE)
