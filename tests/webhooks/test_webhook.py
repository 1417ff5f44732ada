"""What a receiver gets, and which of its answers count: a 2xx in time, and nothing else."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from standardwebhooks import WebhookVerificationError

from api.webhooks.retry_after import MAX_RETRY_AFTER
from api.webhooks.webhook import WebhookFailed
from tests.webhooks.receiver import HELD, OTHER_SECRET, SECRET, answering, reason, receiving, sending

TEN = datetime(2026, 12, 1, 10, 0, 0, tzinfo=UTC)


async def test_a_receiver_verifies_an_event_with_the_public_library() -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        await webhook.send(HELD)
    [taken] = receiver.taken
    assert taken.verify() == {
        "type": "order.held",
        "timestamp": "2026-12-01T10:00:00.250000+00:00",
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
async def test_every_other_status_is_a_failure_of_the_event_or_of_the_receiver(status: int) -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        receiver.answer = answering(status)
        with pytest.raises(WebhookFailed, match=rf"^it answered {status}$") as failed:
            await webhook.send(HELD)
    assert failed.value.away == (status in (401, 404, 410, 429, 503))
    assert failed.value.retry_after is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    async with receiving() as other, receiving() as receiver, sending(receiver.url) as webhook:
        receiver.answer = answering(status, {"location": other.url})
        assert await reason(webhook) == (
            f"it answered {status}: redirects are not followed, the receiver's own address must be configured"
        )
    assert len(receiver.taken) == 1
    assert other.connections == 0


@pytest.mark.parametrize("status", [301, 410, 429, 500, 503])
@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        ("Tue, 01 Dec 2026 10:02:00 GMT", 120.0),
        ("Mon, 30 Nov 2026 10:02:00 GMT", 0.0),
        ("31536000", MAX_RETRY_AFTER),
        ("in a while", None),
    ],
)
async def test_a_receiver_says_when_to_send_again(status: int, text: str, seconds: float | None) -> None:
    async with receiving() as receiver, sending(receiver.url, now=lambda: TEN) as webhook:
        receiver.answer = answering(status, {"retry-after": text})
        with pytest.raises(WebhookFailed) as failed:
            await webhook.send(HELD)
    assert failed.value.retry_after == seconds


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver, sending(receiver.url) as webhook:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        await webhook.send(HELD)
    assert (len(receiver.taken), proxy.connections) == (1, 0)


async def test_nothing_of_an_answer_comes_back_with_the_next_event() -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        receiver.answer = answering(200, {"set-cookie": "a=b"}, b"x" * 100)
        await webhook.send(HELD)
        await webhook.send(HELD)
    assert len(receiver.taken) == 2
    assert "cookie" not in receiver.taken[1].headers


def test_a_body_is_json_with_the_data_as_it_was_written() -> None:
    body = replace(HELD, data='{"n":1.0,"text":"\\u00e9✓"}').body
    assert body == (
        b'{"type":"order.held","timestamp":"2026-12-01T10:00:00.250000+00:00","data":'
        + '{"n":1.0,"text":"\\u00e9✓"}}'.encode()
    )
