"""The answers after two faults in a row, and after a fault that the database does not explain."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Conflict, DatabaseError, OutcomeUnknown, Unavailable, translate
from api.database.pool import Pool, Transaction
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.drops.decisions import Confirmed, Replayed, SoldOut
from api.drops.new_product import NewProduct, create_product
from api.drops.order_search import list_orders
from api.drops.products import get_product
from api.drops.purchase import GroupFailed, execute_group
from api.drops.requests import CancelRequest
from api.drops.ticket import Busy
from tests.drops.purchases import assert_books_balance, cancel, new_group_commit, new_product, purchase
from tests.dsql.stand_in import StandIn
from tests.engines import DSQL
from tests.patience import PATIENCE, PATIENT_TIMES
from tests.regions import HOME

FEW = RetryBudget(attempts=4)


@pytest.fixture
def engine() -> str:
    """Only the stand-in has the faults that these tests need."""
    return DSQL


@pytest.fixture
async def fragile(home: StandIn, tokens: AuthTokens) -> AsyncIterator[Pool]:
    """The test's database through the home Region, which fails on demand."""
    async with Pool(Endpoint(HOME, home.url), 10, tokens, PATIENT_TIMES.pool) as pool:
        yield pool


async def until_a_commit_arrives(home: StandIn) -> None:
    """Wait until a COMMIT has arrived. It is not answered yet."""
    async with asyncio.timeout(PATIENCE):
        await home.commit_arrived.wait()


async def lose_a_commit_and_refuse_connections(home: StandIn) -> None:
    """Lose the answer to the next COMMIT, and refuse all connections from then on."""
    home.cut_after_commit = 1
    await until_a_commit_arrives(home)
    home.refusing = True


class TestAChangeWhoseCommitWasLostBeforeAnOutage:
    async def test_a_creation_is_not_called_undone(self, behind: Pool, fragile: Pool, home: StandIn) -> None:
        product = NewProduct.checked(name="Tee", drop_name="First Light", stock=5)
        creating = asyncio.create_task(create_product(fragile, product, FEW))
        await lose_a_commit_and_refuse_connections(home)
        with pytest.raises(OutcomeUnknown):
            await creating
        assert (await get_product(behind, product.id)).stock == 5

    async def test_a_cancellation_is_not_called_undone(self, behind: Pool, fragile: Pool, home: StandIn) -> None:
        product_id = await new_product(behind, stock=5)
        bought = (await new_group_commit(behind).submit(purchase(product_id, "ada"))).decision
        assert isinstance(bought, Confirmed)
        cancelling = asyncio.create_task(cancel(fragile, bought.order.id, "ada", FEW))
        await lose_a_commit_and_refuse_connections(home)
        with pytest.raises(OutcomeUnknown):
            await cancelling
        assert (await get_product(behind, product_id)).stock == 5

    async def test_a_creation_that_only_conflicts_afterwards_is_not_called_undone(
        self, behind: Pool, fragile: Pool, home: StandIn
    ) -> None:
        product = NewProduct.checked(name="Tee", drop_name="First Light", stock=5)
        creating = asyncio.create_task(create_product(fragile, product, FEW))
        home.internal_after_commit = 1
        await until_a_commit_arrives(home)
        home.internal_errors = 1000
        with pytest.raises(OutcomeUnknown):
            await creating
        assert (await get_product(behind, product.id)).stock == 5


class TestAnOrderThatWasFound:
    """The order was stored before the transaction that found it. It stays stored when that transaction fails."""

    async def test_it_is_answered_when_the_rest_of_its_group_cannot_commit(
        self, behind: Pool, fragile: Pool, home: StandIn
    ) -> None:
        product_id = await new_product(behind, stock=5)
        group_commit = new_group_commit(fragile, budget=FEW)
        home.cut_after_commit = 1
        ada = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
        await until_a_commit_arrives(home)
        home.conflicts = 1000
        bob = asyncio.create_task(group_commit.submit(purchase(product_id, "bob")))

        found, busy = await asyncio.gather(ada, bob)

        assert isinstance(found.decision, Confirmed)
        assert isinstance(busy.decision, Busy)
        assert [order.user_ref for order in (await list_orders(behind, 10)).items] == ["ada"]

    async def test_its_stock_does_not_count_sales_that_were_rolled_back(
        self, behind: Pool, fragile: Pool, home: StandIn
    ) -> None:
        product_id = await new_product(behind, stock=5)
        await new_group_commit(behind).submit(purchase(product_id, "ada", key="click-1"))
        home.conflicts = 1000
        group_commit = new_group_commit(fragile, budget=FEW)

        *_, again = await asyncio.gather(
            *(group_commit.submit(purchase(product_id, f"buyer-{number}")) for number in range(4)),
            group_commit.submit(purchase(product_id, "ada", key="click-1")),
        )

        assert isinstance(again.decision, Replayed)
        assert again.product is not None
        assert again.product.stock == 4

    async def test_its_key_is_answered_when_the_rest_of_its_group_cannot_commit(
        self, behind: Pool, fragile: Pool, home: StandIn
    ) -> None:
        product_id = await new_product(behind, stock=5)
        await new_group_commit(behind).submit(purchase(product_id, "ada", key="click-1"))
        home.conflicts = 1000
        group_commit = new_group_commit(fragile, budget=FEW)

        again, busy = await asyncio.gather(
            group_commit.submit(purchase(product_id, "ada", key="click-1")),
            group_commit.submit(purchase(product_id, "bob")),
        )

        assert isinstance(again.decision, Replayed)
        assert again.attempts == 1
        assert isinstance(busy.decision, Busy)

    async def test_a_cancellation_that_was_rolled_back_settles_no_request_of_its_group(
        self, behind: Pool, fragile: Pool, home: StandIn
    ) -> None:
        product_id = await new_product(behind, stock=5)
        bought = (await new_group_commit(behind).submit(purchase(product_id, "ada", key="click-1"))).decision
        assert isinstance(bought, Confirmed)
        home.conflicts = 1
        cancel_request = CancelRequest(bought.order.id, product_id, "ada", "ada")

        with pytest.raises(GroupFailed) as failed:
            await execute_group(
                fragile, product_id, [purchase(product_id, "ada", key="click-1"), cancel_request] * 2, [1]
            )

        assert isinstance(failed.value.error, Conflict)
        assert failed.value.sale is not None
        assert failed.value.sale.settled == {0: Replayed(bought.order)}


class TestAKeyWhoseCommitWasLostByAnotherRequest:
    """No request under the key is answered that nothing was sold, until the order has been read."""

    async def test_a_request_of_the_same_group_is_answered_unknown(
        self, behind: Pool, fragile: Pool, home: StandIn
    ) -> None:
        product_id = await new_product(behind, stock=5)
        group_commit = new_group_commit(fragile, budget=FEW)
        buying = [
            asyncio.create_task(group_commit.submit(purchase(product_id, "ada", key="click-1"))) for _ in range(2)
        ]
        home.internal_after_commit = 1
        await until_a_commit_arrives(home)
        home.internal_errors = 1000
        answers = await asyncio.gather(*buying, return_exceptions=True)
        assert [type(answer) for answer in answers] == [OutcomeUnknown, OutcomeUnknown]
        assert (await get_product(behind, product_id)).stock == 4

    async def test_a_request_is_answered_unknown_after_the_other_has_hung_up(
        self, behind: Pool, fragile: Pool, home: StandIn
    ) -> None:
        product_id = await new_product(behind, stock=5)
        group_commit = new_group_commit(fragile, budget=FEW)
        leaving = asyncio.create_task(group_commit.submit(purchase(product_id, "ada", key="click-1")))
        home.internal_after_commit = 1
        await until_a_commit_arrives(home)
        home.internal_errors = 1000
        again = asyncio.create_task(group_commit.submit(purchase(product_id, "ada", key="click-1")))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(OutcomeUnknown):
            await again


class TestAnInternalErrorOfTheDatabase:
    @pytest.mark.parametrize("step", range(1, 8))
    async def test_at_any_step_the_purchase_is_tried_again_on_a_new_connection(
        self, behind: Pool, fragile: Pool, home: StandIn, step: int
    ) -> None:
        product_id = await new_product(behind, stock=5, limit=2)
        await fragile.warm_up(1)
        home.failing_steps[home.steps + step] = "XX000"  # BEGIN; three statements, each prepared and executed

        outcome = await new_group_commit(fragile).submit(purchase(product_id, "ada"))

        assert home.failing_steps == {}
        assert isinstance(outcome.decision, Confirmed)
        assert outcome.attempts == 2
        assert home.connections_opened == 2
        assert (await get_product(behind, product_id)).stock == 4

    @pytest.mark.parametrize("fault", ["internal_before_commit", "internal_after_commit"])
    async def test_at_commit_the_stored_order_decides(
        self, behind: Pool, fragile: Pool, home: StandIn, fault: str
    ) -> None:
        product_id = await new_product(behind, stock=5)
        setattr(home, fault, 1)

        outcome = await new_group_commit(fragile).submit(purchase(product_id, "ada"))

        assert isinstance(outcome.decision, Confirmed)
        assert outcome.attempts == 2
        assert (await get_product(behind, product_id)).stock == 4
        await assert_books_balance(behind)

    @pytest.mark.parametrize("fault", ["internal_before_commit", "internal_after_commit"])
    async def test_a_purchase_whose_order_cannot_be_read_is_unknown(
        self, behind: Pool, fragile: Pool, home: StandIn, fault: str
    ) -> None:
        product_id = await new_product(behind, stock=5)
        setattr(home, fault, 1)
        buying = asyncio.create_task(new_group_commit(fragile, budget=FEW).submit(purchase(product_id, "ada")))
        await until_a_commit_arrives(home)
        home.internal_errors = 1000
        with pytest.raises(OutcomeUnknown):
            await buying


async def test_a_connection_lost_between_two_steps_of_the_driver_is_tried_again(
    behind: Pool, fragile: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    product_id = await new_product(behind, stock=5)
    prepare = asyncpg.Connection._get_statement  # type: ignore[attr-defined]
    losses = 1

    async def lose_after_parse(self: Any, query: str, *arguments: object, **named: object) -> object:
        nonlocal losses
        statement = await prepare(self, query, *arguments, **named)
        if losses and "UPDATE stock_shards" in query:
            losses -= 1
            fragile.drop_connections()
        return statement

    monkeypatch.setattr(asyncpg.Connection, "_get_statement", lose_after_parse)
    outcome = await new_group_commit(fragile).submit(purchase(product_id, "ada"))

    assert losses == 0
    assert isinstance(outcome.decision, Confirmed)
    assert outcome.attempts == 2


async def test_a_rollback_that_fails_does_not_change_the_answer(
    behind: Pool, fragile: Pool, home: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    product_id = await new_product(behind, stock=0)
    rollback = Transaction.rollback

    async def lose_before_rollback(self: Transaction) -> None:
        home.down()
        await rollback(self)

    monkeypatch.setattr(Transaction, "rollback", lose_before_rollback)
    outcome = await new_group_commit(fragile).submit(purchase(product_id, "ada"))

    assert isinstance(outcome.decision, SoldOut)
    assert outcome.attempts == 1


async def test_a_purchase_whose_buyer_hangs_up_is_not_tried_again(behind: Pool, fragile: Pool, home: StandIn) -> None:
    product_id = await new_product(behind, stock=5)
    group_commit = new_group_commit(fragile)
    home.commit_latency = 0.05
    home.conflicts = 1
    leaving = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
    await until_a_commit_arrives(home)
    leaving.cancel()
    await asyncio.wait([leaving])
    await group_commit.close(grace=PATIENT_TIMES.ping_timeout)

    assert home.conflicts == 0
    assert group_commit.unanswered == 0
    assert (await get_product(behind, product_id)).stock == 5


@pytest.mark.parametrize(
    ("sqlstate", "named"),
    [
        ("40001", Conflict),
        ("40000", Conflict),
        ("23505", Conflict),
        ("40003", Unavailable),
        ("08006", Unavailable),
        ("25006", Unavailable),
        ("53400", Unavailable),
        ("57P03", Unavailable),
        ("XX000", Unavailable),
        ("XX001", Unavailable),
        ("ZZ999", Unavailable),
        ("22003", None),
        ("23514", None),
        ("42P01", None),
        ("54000", None),
    ],
)
def test_only_an_error_in_the_request_itself_is_not_tried_again(
    sqlstate: str, named: type[DatabaseError] | None
) -> None:
    error = asyncpg.PostgresError.new({"C": sqlstate, "M": "some message"})
    assert type(translate(error)) is (named or type(None))
