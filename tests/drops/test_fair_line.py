"""A line serves its clients in turn, and the client with most purchases in it gives way when there is no room."""

import asyncio
from uuid import UUID

from api.database.pool import Pool
from api.drops.audit import audit
from api.drops.group_commit import GroupCommit, GroupPolicy
from api.drops.line import Busy, Outcome
from api.drops.purchase import Confirmed
from tests.drops.purchases import line, new_product, wish
from tests.drops.test_group_commit import inventory_locked, until_blocked


class Buyers:
    """Purchases that wait, by client, and the clients in the order in which they were answered."""

    def __init__(self, desk: GroupCommit, product_id: UUID) -> None:
        self._desk = desk
        self._product_id = product_id
        self.answered: list[str] = []

    def buy(self, client: str, number: int = 1) -> "list[asyncio.Task[Outcome]]":
        return [asyncio.create_task(self._buy(client)) for _ in range(number)]

    async def _buy(self, client: str) -> Outcome:
        outcome = await self._desk.submit(wish(self._product_id, client), client)
        self.answered.append(client)
        return outcome


async def test_a_client_with_many_purchases_in_line_leaves_another_its_turn(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    desk = line(pool, GroupPolicy(size=2))
    buyers = Buyers(desk, product_id)
    async with inventory_locked(behind, product_id):
        buying = buyers.buy("many")
        await until_blocked(behind)
        buying += buyers.buy("many", 20)
        await asyncio.sleep(0)
        buying += buyers.buy("few", 2)
        await asyncio.sleep(0)
    await asyncio.gather(*buying)

    # One was in flight; the groups behind it have one of each client.
    assert sorted(buyers.answered[1:3]) == sorted(buyers.answered[3:5]) == ["few", "many"]


async def test_the_newest_of_the_client_with_most_gives_way_and_is_sold_nothing(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    desk = line(pool, GroupPolicy(waiting=4))
    buyers = Buyers(desk, product_id)
    async with inventory_locked(behind, product_id):
        greedy = buyers.buy("greedy")
        await until_blocked(behind)
        greedy += buyers.buy("greedy", 3)
        await asyncio.sleep(0)
        honest = buyers.buy("honest")
        gave_way = await greedy.pop()
        late = await desk.submit(wish(product_id, "greedy"), "greedy")
        assert desk.waiting == 4
    outcomes = await asyncio.gather(*greedy, *honest)

    assert isinstance(gave_way.decision, Busy)
    assert isinstance(late.decision, Busy), "who has most pushes nobody out"
    assert all(isinstance(outcome.decision, Confirmed) for outcome in outcomes)
    assert desk.waiting == 0
    assert [(entry.sold, entry.balanced) for entry in await audit(behind)] == [(4, True)]


async def test_a_purchase_in_flight_does_not_give_way(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    desk = line(pool, GroupPolicy(waiting=2))
    buyers = Buyers(desk, product_id)
    async with inventory_locked(behind, product_id):
        greedy = buyers.buy("greedy", 2)  # both in one group, since the line's task begins after them
        await until_blocked(behind)
        honest = buyers.buy("honest")
        await asyncio.sleep(0)
        assert buyers.answered == []
    outcomes = await asyncio.gather(*greedy, *honest)

    assert all(isinstance(outcome.decision, Confirmed) for outcome in outcomes)
    assert desk.waiting == 0
