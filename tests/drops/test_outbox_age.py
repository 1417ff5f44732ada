"""The age of the oldest row in the outbox, as a relay knows it."""

from dataclasses import replace

import pytest

from api.database.errors import Unavailable
from api.database.pool import Pool
from api.drops.relay import Relay
from tests.drops.happenings import QUICK, buy, change
from tests.drops.purchases import new_product
from tests.faults import Faulty
from tests.patience import PATIENCE, until


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def test_the_age_of_the_outbox_is_seen_and_grows_while_nothing_can_be_moved(
    pool: Pool, fragile: Pool, faulty: Faulty
) -> None:
    relay = Relay(fragile, lambda: None, replace(QUICK, patience=100 * PATIENCE))
    assert relay.oldest_age == 0.0
    product_id = await new_product(pool, stock=10)
    await buy(pool, product_id, 1)
    await change(pool, "UPDATE outbox SET created_at = created_at - interval '1 hour'")
    await buy(pool, product_id, 1)
    faulty.down()
    with pytest.raises(Unavailable):
        await relay.look()
    assert relay.oldest_age == 0.0
    relay.wake()
    await until(lambda: relay.oldest_age > 0.0)

    await faulty.up()
    await relay.look()
    assert 3600 <= relay.oldest_age < 3600 + 100 * PATIENCE
    await relay.move()
    assert relay.oldest_age == 0.0


async def test_the_age_of_the_outbox_is_that_of_the_first_row_left(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.drops.relay.MAX_EVENTS", 1)
    product_id = await new_product(pool, stock=10)
    for _ in range(2):
        await change(pool, "UPDATE outbox SET created_at = created_at - interval '1 hour'")
        await buy(pool, product_id, 1)
    await change(pool, "UPDATE outbox SET created_at = created_at - interval '1 hour'")
    relay = Relay(pool, lambda: None)

    await relay.move()
    assert 3600 <= relay.oldest_age < 7200
    await relay.move()
    assert relay.oldest_age == 0.0
