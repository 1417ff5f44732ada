"""Every statement about events that a server can send, for the tests of rights and of the dialect."""

from datetime import timedelta

from api.database.pool import Pool
from api.drops.event_log import EventLog, encode_position, read_events
from api.drops.old_events import delete_old_events
from api.drops.parcels import Parcels, Results
from api.drops.relay import MAX_EVENTS, Relay
from api.drops.requests import Purchase
from tests.drops.happenings import change, keeping
from tests.drops.holds import new_held_product

_FULL_ROW = """
INSERT INTO outbox (id, product_id, events, units, happened)
SELECT gen_random_uuid(), $1, $2, 1,
    json_agg(json_build_array('order.held', gen_random_uuid(), '{}'::json))::text
FROM generate_series(1, $2::integer)
"""


async def send_every_statement_about_events(pool: Pool, owner: Pool) -> None:
    """Sell a product out, and move, read, send and delete what happened. `owner` may write whatever it likes."""
    product_id = await new_held_product(pool, stock=1)
    await keeping(pool).submit(Purchase.checked(product_id=product_id, user_ref="ada", quantity=1))
    for _ in range(2):  # more than one transaction moves, so that the relay looks at what is left
        await change(owner, _FULL_ROW, product_id, MAX_EVENTS)
    relay = Relay(pool, moved=lambda: None)
    while not (await relay.move()).complete:
        pass

    page = await read_events(pool, 2)
    assert len(page.items) == 2
    await read_events(pool, last=2, before=encode_position(page.items[1].position))
    log = EventLog(pool)
    async with log.follow():
        pass
    await log.close()

    parcels = Parcels(pool)
    for results in (Results(), Results(unsent=[11]), Results()):
        parcel = await parcels.take(10)
        assert parcel is not None
        await parcels.finish(parcel, results)
    assert await delete_old_events(pool, sends=True, kept_for=timedelta(0)) > 0
