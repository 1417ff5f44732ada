"""Live stock of a product in shards: changes that overlap are added up, and no sum of two moments is ever sent."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.shards import Shard, split_stock
from api.drops.stock import StockPublisher
from api.drops.stock_changes import Watcher
from tests.drops.purchases import new_product
from tests.drops.watching import assert_nothing_sent, current, next_change


def shards_of(*stocks_and_versions: tuple[int, int]) -> list[Shard]:
    return [Shard(stock, stocked=0, version=version) for stock, version in stocks_and_versions]


async def test_two_changes_of_different_shards_that_overlap_are_both_counted_at_once(
    pool: Pool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool, stock=10, shards=2)

    async with seldom.watch([product_id]) as watcher:
        assert await next_change(watcher) == current(product_id, 10, 1)
        # Neither transaction has seen the other.
        seldom.publish(product_id, shards_of((4, 2), (5, 0)))
        assert await next_change(watcher) == current(product_id, 9, 2)
        seldom.publish(product_id, shards_of((5, 1), (3, 1)))
        assert await next_change(watcher) == current(product_id, 7, 3)


async def test_an_old_reading_of_one_shard_does_not_undo_its_change(pool: Pool, seldom: StockPublisher) -> None:
    product_id = await new_product(pool, stock=10, shards=2)

    async with seldom.watch([product_id]) as watcher:
        await next_change(watcher)
        seldom.publish(product_id, shards_of((4, 2), (5, 0)))
        await next_change(watcher)

        seldom.publish(product_id, shards_of((5, 1), (5, 0)))
        assert_nothing_sent(watcher)
        seldom.publish(product_id, shards_of((5, 1), (2, 1)))
        assert await next_change(watcher) == current(product_id, 6, 3)


async def test_a_reading_adds_the_changes_of_rivals_to_those_of_this_process(pool: Pool, often: StockPublisher) -> None:
    product_id = await new_product(pool, stock=10, shards=2)
    sell = "UPDATE stock_shards SET stock = stock - 1, version = version + 1 WHERE product_id = $1 AND shard = $2"

    async with often.watch([product_id]) as watcher:
        assert await next_change(watcher) == current(product_id, 10, 1)
        for units, version, shard in [(9, 2, 0), (8, 3, 1), (7, 4, 1)]:
            await pool.execute(sell, product_id, shard)
            assert await next_change(watcher) == current(product_id, units, version)


async def test_units_that_move_between_shards_do_not_change_the_stock_that_is_sent(
    pool: Pool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool, stock=10, shards=3)

    async with seldom.watch([product_id]) as watcher:
        assert await next_change(watcher) == current(product_id, 10, 1)
        # Two units move from the first shard to the second, and one is sold. Beside that, one of the third is sold.
        seldom.publish(product_id, shards_of((1, 2), (5, 1), (3, 0)))
        assert await next_change(watcher) == current(product_id, 9, 3)
        seldom.publish(product_id, shards_of((4, 1), (3, 0), (2, 1)))
        assert await next_change(watcher) == current(product_id, 8, 4)
        seldom.publish(product_id, shards_of((4, 1), (3, 0), (3, 0)))
        assert_nothing_sent(watcher)


@dataclass(frozen=True, slots=True)
class Reading:
    """The shards that a transaction leaves or a reading finds, and the numbers of the transactions that it includes."""

    shards: list[Shard]
    includes: frozenset[int]


class History:
    """Transactions of one product at snapshot isolation, each of which sells units and moves others between shards."""

    def __init__(self, chance: random.Random, stocks: Sequence[int], transactions: int) -> None:
        self.sold: list[int] = []
        """The units that each transaction sold."""
        first = [Shard(stock, 0, int(shard == 0)) for shard, stock in enumerate(stocks)]
        committed = [Reading(first, frozenset())]
        self.published: list[Reading] = []
        """What the processes publish, in the order of the commits: their own commits, and readings."""
        for number in range(transactions):
            snapshot = chance.choice(committed[-3:])
            own, other = chance.sample(range(len(stocks)), 2)
            written = [own, other] if chance.random() < 0.5 else [own]
            latest = committed[-1].shards
            if any(latest[shard].version != snapshot.shards[shard].version for shard in written):
                self.sold.append(0)  # a conflict
                continue
            moved, sold = chance.randint(-4, 4) if len(written) == 2 else 0, chance.randint(1, 3)
            self.sold.append(sold)
            change = {own: moved - sold, other: -moved} if len(written) == 2 else {own: -sold}
            self.published.append(_changed(snapshot, change, number))
            committed.append(_changed(committed[-1], change, number))
            if chance.random() < 0.3:
                self.published.append(chance.choice(committed))
        chance.shuffle(self.published)


def _changed(before: Reading, change: dict[int, int], number: int) -> Reading:
    shards = [
        Shard(shard.stock + change[position], 0, shard.version + 1) if position in change else shard
        for position, shard in enumerate(before.shards)
    ]
    return Reading(shards, before.includes | {number})


@pytest.mark.parametrize("seed", range(8))
async def test_every_stock_that_is_sent_is_that_of_all_transactions_known_by_then(
    pool: Pool, seldom: StockPublisher, seed: int
) -> None:
    """Whatever overlaps, and in whatever order commits and readings are published."""
    chance = random.Random(seed)  # noqa: S311
    for _ in range(10):
        shards = chance.randint(2, 5)
        product_id = await new_product(pool, stock=1_000, shards=shards)
        history = History(chance, split_stock(1_000, shards), transactions=30)
        async with seldom.watch([product_id]) as watcher:
            assert await next_change(watcher) == current(product_id, 1_000, 1)
            await check_each_change(seldom, watcher, product_id, history)


async def check_each_change(publisher: StockPublisher, watcher: Watcher, product_id: UUID, history: History) -> None:
    """Publish the history, and compare what is sent with what is known."""
    known: frozenset[int] = frozenset()
    version = 1
    for reading in history.published:
        publisher.publish(product_id, reading.shards)
        if reading.includes <= known:
            assert_nothing_sent(watcher)
            continue
        known |= reading.includes
        level = (await next_change(watcher)).level
        assert level.stock == 1_000 - sum(history.sold[number] for number in known)
        assert level.version > version
        version = level.version
