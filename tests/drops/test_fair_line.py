"""How a line is shared between clients: who is served next, and who gives way when the quota is spent."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.errors import OutcomeUnknown
from api.database.pool import Pool, Transaction
from api.database.tokens import AuthTokens
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.order_search import list_orders
from api.drops.ticket import Busy, Outcome
from tests.drops.purchases import assert_books_balance, kinds, new_group_commit, new_product, purchase
from tests.faults import Faulty
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES, until

SIZE = 100


class Submissions:
    """Purchases of one product by several clients, through a group commit, and the order of their answers."""

    def __init__(self, group_commit: GroupCommit, product_id: UUID) -> None:
        self.group_commit = group_commit
        self._product_id = product_id
        self.answered: list[str] = []
        """The client of each purchase that was answered."""

    def submit(self, client: str, number: int = 1) -> list[asyncio.Task[Outcome]]:
        """Start `number` purchases of a client. They join the line when their tasks run next."""
        tasks: list[asyncio.Task[Outcome]] = []
        for each in range(number):
            buying = self.group_commit.submit(purchase(self._product_id, f"{client}-{each}-{id(tasks)}"), client)
            task = asyncio.create_task(buying)
            task.add_done_callback(lambda _: self.answered.append(client))
            tasks.append(task)
        return tasks

    async def queue(self, client: str, number: int = 1) -> list[asyncio.Task[Outcome]]:
        """Start `number` purchases of a client, and let them join the line."""
        tasks = self.submit(client, number)
        await asyncio.sleep(0)
        return tasks

    @asynccontextmanager
    async def in_flight(self, behind: Pool, client: str, number: int = 1) -> AsyncIterator[list[asyncio.Task[Outcome]]]:
        """A first group, of `number` purchases, that cannot commit until the block is left. Later purchases wait."""
        async with stock_held(behind, self._product_id):
            tasks = self.submit(client, number)
            await until_blocked(behind)
            yield tasks


async def submissions_of(pool: Pool, stock: int, policy: GroupPolicy) -> Submissions:
    return Submissions(new_group_commit(pool, policy), await new_product(pool, stock=stock, shards=1))


async def results(*groups: list[asyncio.Task[Outcome]]) -> list[Outcome]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*(task for group in groups for task in group))


async def test_the_next_group_has_all_of_a_client_with_few_purchases(pool: Pool, behind: Pool) -> None:
    submissions = await submissions_of(pool, 2_000, GroupPolicy(size=SIZE))
    async with submissions.in_flight(behind, "first") as first:
        many = await submissions.queue("many", 1_000)
        few = await submissions.queue("few", 5)

    assert kinds(await results(first, many, few)) == {"Confirmed": 1_006}
    assert set(submissions.answered[1 : 1 + SIZE]) == {"many", "few"}
    assert submissions.answered[1 : 1 + SIZE].count("few") == 5
    assert sum(submissions.group_commit.transactions.values()) == 1 + 11  # groups are as full as those of one client


async def test_a_client_that_joins_last_with_few_still_buys_before_a_drop_sells_out(pool: Pool, behind: Pool) -> None:
    submissions = await submissions_of(pool, 21, GroupPolicy(size=SIZE))
    async with submissions.in_flight(behind, "first") as first:
        many = await submissions.queue("many", 1_000)
        few = await submissions.queue("few", 5)

    assert kinds(await results(few)) == {"Confirmed": 5}
    assert kinds(await results(first, many)) == {"Confirmed": 16, "SoldOut": 985}
    await assert_books_balance(pool)


async def test_three_clients_with_as_many_purchases_are_served_in_turn(pool: Pool, behind: Pool) -> None:
    submissions = await submissions_of(pool, 1_000, GroupPolicy(size=30))
    async with submissions.in_flight(behind, "first") as first:
        tasks = [await submissions.queue(client, 60) for client in ("a", "b", "c")]

    await results(first, *tasks)
    for group in range(6):
        served = submissions.answered[1 + 30 * group : 31 + 30 * group]
        assert {client: served.count(client) for client in ("a", "b", "c")} == {"a": 10, "b": 10, "c": 10}


async def test_purchases_of_one_client_are_served_in_their_order(pool: Pool, behind: Pool) -> None:
    submissions = await submissions_of(pool, 31, GroupPolicy(size=SIZE))
    async with submissions.in_flight(behind, "first") as first:
        tasks = await submissions.queue("one", 60)

    outcomes = await results(tasks)
    assert kinds(outcomes[:30]) == {"Confirmed": 30}
    assert kinds(outcomes[30:]) == {"SoldOut": 30}
    await results(first)


class TestSpentQuota:
    """The quota of unanswered purchases is spent."""

    async def test_the_newest_purchase_of_the_client_with_most_gives_way(self, pool: Pool, behind: Pool) -> None:
        submissions = await submissions_of(pool, 100, GroupPolicy(max_unanswered=10))
        async with submissions.in_flight(behind, "many") as first:
            many = await submissions.queue("many", 9)
            few = submissions.submit("few", 2)
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait(many[-2:])

            for task in many[-2:]:
                outcome = task.result()
                assert isinstance(outcome.decision, Busy)
                assert 500 <= outcome.decision.retry_after_ms <= 1500
                assert outcome.attempts == 0
            assert not any(task.done() for task in (*first, *many[:-2], *few))
            assert submissions.group_commit.unanswered == 10

        assert kinds(await results(first, many[:-2], few)) == {"Confirmed": 10}
        assert submissions.group_commit.outcomes == {("here", "Confirmed"): 10, ("here", "Busy"): 2}
        assert submissions.group_commit.unanswered == 0
        await assert_books_balance(pool)

    async def test_the_client_with_most_is_turned_away_itself(self, pool: Pool, behind: Pool) -> None:
        submissions = await submissions_of(pool, 100, GroupPolicy(max_unanswered=10))
        async with submissions.in_flight(behind, "few") as few:
            many = submissions.submit("many", 20)
            async with asyncio.timeout(PATIENCE):
                await asyncio.wait(many[9:])
            assert [task.done() for task in (*few, *many[:9])] == [False] * 10

        assert kinds(await results(few, many)) == {"Confirmed": 10, "Busy": 11}
        assert kinds([task.result() for task in many[9:]]) == {"Busy": 11}

    async def test_purchases_of_other_products_count_as_well(self, pool: Pool, behind: Pool) -> None:
        group_commit = new_group_commit(pool, GroupPolicy(max_unanswered=10))
        crowded = Submissions(group_commit, await new_product(pool, stock=100))
        quiet = Submissions(group_commit, await new_product(pool, stock=100))
        async with crowded.in_flight(behind, "many") as first:
            many = first + await crowded.queue("many", 9)
            assert kinds(await results(quiet.submit("few"))) == {"Confirmed": 1}
            assert [task.done() for task in many] == [False] * 9 + [True]

        assert kinds(await results(many)) == {"Confirmed": 9, "Busy": 1}

    async def test_a_purchase_in_a_transaction_does_not_give_way(self, pool: Pool, behind: Pool) -> None:
        submissions = await submissions_of(pool, 100, GroupPolicy(max_unanswered=3))
        async with submissions.in_flight(behind, "many", 3) as many:
            few = await submissions.queue("few")
            assert not any(task.done() for task in (*many, *few))

        assert kinds(await results(many, few)) == {"Confirmed": 4}
        assert submissions.group_commit.unanswered == 0

    async def test_a_purchase_whose_buyer_has_hung_up_gives_way_as_any(self, pool: Pool, behind: Pool) -> None:
        submissions = await submissions_of(pool, 100, GroupPolicy(max_unanswered=4))
        async with submissions.in_flight(behind, "many") as first:
            many = await submissions.queue("many", 3)
            many[-1].cancel()
            await asyncio.wait([many[-1]])
            few = await submissions.queue("few")
            assert not any(task.done() for task in (*first, *many[:-1], *few))

        assert kinds(await results(first, many[:-1], few)) == {"Confirmed": 4}
        assert len((await list_orders(pool, 100)).items) == 4
        assert submissions.group_commit.unanswered == 0


class Never(Backoff):
    """Waits longer than any test before the next attempt."""

    def delay(self, failures: int) -> float:
        return 100 * PATIENCE


def go_away_at_commit(monkeypatch: pytest.MonkeyPatch, database: Faulty) -> None:
    """Close the database's connections once the next COMMIT of this process has arrived, and refuse new ones."""
    commit = Transaction.commit

    async def commit_and_go_away(transaction: Transaction) -> None:
        try:
            await commit(transaction)
        finally:
            database.down()

    database.cut_after_commit = 1
    monkeypatch.setattr(Transaction, "commit", commit_and_go_away)


@pytest.fixture
async def fragile(faulty: Faulty, tokens: AuthTokens) -> AsyncIterator[Pool]:
    """The test's database, through an endpoint that fails on demand."""
    async with Pool(Endpoint("here", faulty.url), 5, tokens, PATIENT_TIMES.pool) as pool:
        yield pool


@pytest.mark.parametrize("most", [1, 2])
async def test_no_request_for_an_order_of_unknown_outcome_is_answered_busy(
    behind: Pool, fragile: Pool, faulty: Faulty, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """A second request under the same key makes the second of two claims, and gives way. With a quota of one, the
    second request gets no claim."""
    product_id = await new_product(behind, stock=100)
    go_away_at_commit(monkeypatch, faulty)
    group_commit = GroupCommit(
        fragile, GroupPolicy(max_unanswered=most), PATIENT_BUDGET, lambda product_id, shards: None, Never()
    )
    first = asyncio.create_task(group_commit.submit(purchase(product_id, key="click"), "many"))
    await until(lambda: bool(group_commit.transactions))
    assert group_commit.transactions == {("here", "OutcomeUnknown"): 1}

    again = asyncio.create_task(group_commit.submit(purchase(product_id, key="click"), "many"))
    await asyncio.sleep(0)
    other = asyncio.create_task(group_commit.submit(purchase(product_id, "grace"), "few"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert again.done()
    assert isinstance(again.exception(), OutcomeUnknown)
    assert not first.done(), "it is in the group, and goes on"
    await group_commit.close(grace=0)
    await asyncio.gather(first, other, return_exceptions=True)
    assert isinstance(first.exception(), OutcomeUnknown)
    assert group_commit.unanswered == 0
    assert len((await list_orders(behind, 10)).items) == 1
