"""Lapsing: every hold that has run out is ended once, whatever happens to the processes that end it."""

import asyncio
import logging
import uuid
from uuid import UUID

import pytest

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.tokens import AuthTokens
from api.drops import lapsing
from api.drops.drops import Drops
from api.drops.group_policy import GroupPolicy
from api.drops.lapsing import MAX_LAPSED, WINDOW, Lapsing
from api.drops.orders import OrderStatus
from api.drops.products import get_product
from api.drops.stock import PollingTimes
from tests.drops.holds import end_holds, hold, new_held_product, now, payment, run_out
from tests.drops.outbox import read_outbox
from tests.drops.purchases import assert_books_balance, new_group_commit
from tests.engines import on_both_engines
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES, short, until

AT_ONCE = Backoff(base=short(0.02), cap=short(0.05))


async def place_due_holds(behind: Pool, product_id: UUID, number: int) -> None:
    """Put so many holds of one unit, which have run out, into the tables, as purchases would have."""
    await behind.execute(
        """
        INSERT INTO orders (id, product_id, user_ref, quantity, status, region, held_until)
        SELECT gen_random_uuid(), $1, 'buyer-' || number, 1, 'CONFIRMED', 'here', now() - interval '1 s'
        FROM generate_series(1, $2::integer) AS number
        """,
        product_id,
        number,
    )
    await behind.execute(
        "UPDATE stock_shards SET stock = stock - $2::integer, version = version + 1 "
        "WHERE product_id = $1 AND shard = 0",
        product_id,
        number,
    )


async def due(pool: Pool) -> int:
    """Holds that have run out and were not ended."""
    return len(await pool.fetch("SELECT FROM orders WHERE held_until <= now()"))


async def end_all(each: Lapsing) -> None:
    """Look again until a look has found fewer holds than it can read."""
    while await each.end_holds() == 0.0:
        pass


@on_both_engines
async def test_several_processes_end_each_hold_once(pool: Pool, behind: Pool) -> None:
    products = [await new_held_product(pool, 6000, shards=4) for _ in range(3)]
    for product_id in products:
        await place_due_holds(behind, product_id, 150)
    lines = [new_group_commit(pool, keep_events=True) for _ in range(3)]
    processes = [Lapsing(pool, line) for line in lines]

    while await due(pool):
        await asyncio.gather(*(process.end_holds() for process in processes))

    assert sum(process.lapsed for process in processes) == 450
    for product_id in products:
        happened = await read_outbox(pool, product_id)
        assert len({each.order_id for each in happened}) == len(happened) == 150
        assert {each.type for each in happened} == {"order.lapsed"}
        assert (await get_product(pool, product_id)).stock == 6000
    await assert_books_balance(pool)


async def test_more_holds_than_one_look_reads_are_all_ended(pool: Pool, behind: Pool) -> None:
    product_id = await new_held_product(pool, 2 * WINDOW, shards=1)
    await place_due_holds(behind, product_id, WINDOW + MAX_LAPSED)
    process = Lapsing(pool, new_group_commit(pool))

    assert await process.end_holds() == 0.0, "it looks again at once"
    await end_all(process)
    while await due(pool):  # a look ends MAX_LAPSED of each part
        await process.end_holds()

    assert process.lapsed == WINDOW + MAX_LAPSED
    assert (await get_product(pool, product_id)).stock == 2 * WINDOW
    await assert_books_balance(pool)


async def test_a_look_that_can_end_nothing_is_not_repeated_at_once(pool: Pool, behind: Pool) -> None:
    stray = uuid.uuid4()  # a product that does not exist
    await behind.execute(
        "INSERT INTO orders (id, product_id, user_ref, quantity, status, region, held_until) "
        "SELECT gen_random_uuid(), $1, 'ada', 1, 'CONFIRMED', 'here', now() FROM generate_series(1, $2::integer)",
        stray,
        WINDOW,
    )

    assert await Lapsing(pool, new_group_commit(pool)).end_holds() >= lapsing.SHORTEST_PAUSE


async def test_the_oldest_hold_that_ran_out_shows_until_a_look_finds_none(pool: Pool, behind: Pool) -> None:
    product_id = await new_held_product(pool, 160, shards=1)
    process = Lapsing(pool, new_group_commit(pool))
    await place_due_holds(behind, product_id, 3)
    await behind.execute("UPDATE orders SET held_until = now() - interval '1 hour' WHERE user_ref = 'buyer-2'")

    await process.end_holds()
    assert 3600 <= process.overdue < 3600 + 100 * PATIENCE
    await process.end_holds()
    assert process.overdue == 0.0


async def test_holds_of_many_products_are_ended_in_one_look(pool: Pool, behind: Pool) -> None:
    products = [await new_held_product(pool, 160, shards=1) for _ in range(30)]
    for product_id in products:
        await place_due_holds(behind, product_id, 2)

    assert await end_holds(pool) == 60
    assert [(await get_product(pool, product_id)).stock for product_id in products] == [160] * 30


async def test_many_holds_of_one_product_do_not_keep_those_of_another(pool: Pool, behind: Pool) -> None:
    many, few = await new_held_product(pool, 2 * WINDOW, shards=1), await new_held_product(pool, 160, shards=1)
    await place_due_holds(behind, many, WINDOW)
    process = Lapsing(pool, new_group_commit(pool))
    ending = asyncio.create_task(process.end_holds())
    await until(lambda: bool(process.busy))
    await place_due_holds(behind, few, 2)  # they ran out later than those of the other product

    await process.end_holds()

    assert not ending.done(), "the other product's holds are still being ended"
    assert (await get_product(pool, few)).stock == 160
    await ending


@on_both_engines
async def test_only_holds_that_have_run_out_are_ended(pool: Pool, behind: Pool) -> None:
    line = new_group_commit(pool)
    product_id = await new_held_product(pool)
    ran_out, running, paid = [await hold(line, product_id, buyer) for buyer in ("ada", "bob", "cyd")]
    await run_out(behind, ran_out)
    await line.submit(payment(paid))

    assert await end_holds(pool) == 1

    statuses = [(await now(pool, order)).status for order in (ran_out, running, paid)]
    assert statuses == [OrderStatus.LAPSED, OrderStatus.HELD, OrderStatus.CONFIRMED]
    lapsed = await now(pool, ran_out)
    assert (lapsed.held_until, lapsed.confirmed_at, lapsed.payment_ref) == (None, None, None)
    await assert_books_balance(pool)


async def test_a_hold_that_was_paid_between_the_look_and_the_end_stays_paid(pool: Pool, behind: Pool) -> None:
    line = new_group_commit(pool)
    product_id = await new_held_product(pool)
    order = await hold(line, product_id)
    await run_out(behind, order)
    paying = asyncio.create_task(line.submit(payment(order)))
    process = Lapsing(pool, line)  # the line decides the payment first

    await asyncio.gather(paying, process.end_holds())

    assert (await now(pool, order)).status is OrderStatus.CONFIRMED
    assert process.lapsed == 0
    await assert_books_balance(pool)


async def test_a_server_that_starts_ends_what_ran_out_before(pool: Pool, behind: Pool, database_url: str) -> None:
    product_id = await new_held_product(pool, 160, shards=1)
    await place_due_holds(behind, product_id, 5)
    drops = Drops(
        Regions((Endpoint("here", database_url),), 5, times=PATIENT_TIMES),
        GroupPolicy(),
        PATIENT_BUDGET,
        PollingTimes(interval=1),
    )

    await drops.open()
    drops.start()
    try:
        await until(lambda: drops.lapsing.lapsed == 5)
    finally:
        await drops.close(grace=1)

    assert (await get_product(pool, product_id)).stock == 160


def test_a_hold_is_ended_within_five_seconds() -> None:
    assert 0 < lapsing.SHORTEST_PAUSE < lapsing.LONGEST_PAUSE < 5


async def test_holds_are_ended_again_when_the_database_is_back(
    pool: Pool, behind: Pool, faulty: Faulty, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_held_product(pool, 160, shards=1)
    await place_due_holds(behind, product_id, 5)
    async with Pool(Endpoint("here", faulty.url), 5, tokens, PATIENT_TIMES.pool) as fragile:
        faulty.down()
        process = Lapsing(fragile, new_group_commit(fragile), AT_ONCE)
        with caplog.at_level(logging.INFO, "dropzero.holds"):
            process.start()
            try:
                await until(lambda: "cannot be ended yet" in caplog.text)
                assert await due(pool) == 5
                await faulty.up()
                await until(lambda: "are ended again" in caplog.text)
                await until(lambda: process.lapsed == 5)  # one look ends them, and the other one can find none before
            finally:
                await process.close()

    assert await due(pool) == 0
    assert process.lapsed == 5
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1, "the failure is logged once, however long it lasts"
    await assert_books_balance(pool)


async def test_a_hold_that_cannot_be_ended_keeps_no_other(
    pool: Pool, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_held_product(pool, 160, shards=1)
    await place_due_holds(behind, product_id, 3)
    stray = uuid.uuid4()  # a product that does not exist
    await place_due_holds(behind, stray, 1)

    assert await end_holds(pool) == 3
    assert f"holds of the product {stray} cannot be ended: there is no product" in caplog.text


async def test_holds_lapse_although_purchases_never_pause(pool: Pool, behind: Pool) -> None:
    product_id = await new_held_product(pool, 1_000_000, shards=4)
    await place_due_holds(behind, product_id, 300)
    line = new_group_commit(pool)
    process = Lapsing(pool, line)

    async def buy_again_and_again() -> None:
        while True:
            await asyncio.gather(*(hold(line, product_id, f"buyer-{number}") for number in range(20)))

    buying = asyncio.create_task(buy_again_and_again())
    try:
        while await due(pool):
            await process.end_holds()
            assert not buying.done()
    finally:
        buying.cancel()
        await asyncio.wait([buying])

    assert process.lapsed == 300
    await assert_books_balance(pool)
