"""What a receiver gets, and which of its answers count: a 2xx in time, and nothing else."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from standardwebhooks import WebhookVerificationError

from api.webhooks.webhook import WebhookFailed
from tests.webhooks.receiver import HELD, OTHER_SECRET, SECRET, answering, receiving, sending


async def test_a_receiver_verifies_an_event_with_the_public_library() -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        await webhook.send(HELD)
    [taken] = receiver.taken
    assert taken.verify() == {
        "type": "order.held",
        "timestamp": "2026-12-01T10:00:00.250000Z",
        "data": orjson.loads(HELD.data),
    }
    assert taken.headers["content-type"] == "application/json"
    assert taken.headers["webhook-id"] == str(HELD.id)
    with pytest.raises(WebhookVerificationError):
        taken.verify(OTHER_SECRET)


async def test_each_secret_signs_so_that_a_receiver_can_change_from_one_to_the_next() -> None:
    async with receiving() as receiver, sending(receiver.url, secrets=(SECRET, OTHER_SECRET)) as webhook:
        await webhook.send(HELD)
    [taken] = receiver.taken
    assert taken.verify(SECRET) == taken.verify(OTHER_SECRET)


async def test_an_event_that_is_sent_again_has_the_same_bytes_and_a_new_moment() -> None:
    moments = iter([datetime.now(UTC) - timedelta(seconds=90), datetime.now(UTC)])
    async with receiving() as receiver, sending(receiver.url, now=lambda: next(moments)) as webhook:
        await webhook.send(HELD)
        await webhook.send(HELD)
    first, second = receiver.taken
    assert first.body == second.body == HELD.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) in (90, 91)
    assert first.verify() == second.verify()


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_every_2xx_takes_the_event(status: int) -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        receiver.answer = answering(status)
        await webhook.send(HELD)
    assert len(receiver.taken) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 429, 500, 503])
async def test_every_other_status_is_a_failure_and_410_ends_it_for_good(status: int) -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        receiver.answer = answering(status)
        with pytest.raises(WebhookFailed, match=rf"^it answered {status}$") as failed:
            await webhook.send(HELD)
    assert failed.value.gone == (status == 410)
    assert failed.value.retry_after is None
