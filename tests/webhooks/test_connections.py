"""Connections to a receiver: few, used again, with TLS that is verified, and closed with the webhook."""

import asyncio
from datetime import UTC, datetime

import pytest
from aiohttp import web

from api.webhooks.webhook import CONNECTIONS, WebhookFailed
from tests.patience import short, until
from tests.webhooks.certificates import server_context, trusting
from tests.webhooks.names import Names
from tests.webhooks.raw_receiver import ACCEPTED, holding, raw_receiving, read_request
from tests.webhooks.receiver import HELD, Receiver, answering, reason, receiving, sending

NAMES = Names({"shop.example": ["127.0.0.1"]})


def named(receiver: Receiver) -> str:
    """The URL of a receiver, with a name in place of the address."""
    return receiver.url.replace("127.0.0.1", "shop.example")


@pytest.mark.parametrize("body", [b"", b"ok", b"x" * 2000])
async def test_a_connection_carries_one_event_after_the_other(body: bytes) -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        receiver.answer = answering(200, body=body)
        for _ in range(5):
            await webhook.send(HELD)
        receiver.answer = answering(503, body=body)
        await reason(webhook)
    assert (len(receiver.taken), receiver.connections) == (6, 1)


async def test_a_connection_is_used_again_when_the_body_comes_after_the_head() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(ACCEPTED + b"content-length: 2\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(short(0.05))
            writer.write(b"ok")
            await read_request(reader)

    async with raw_receiving(answer) as raw, sending(raw.url) as webhook:
        for _ in range(3):
            await webhook.send(HELD)
        assert raw.connections == 1


async def test_a_connection_that_the_receiver_has_closed_is_replaced() -> None:
    async with receiving() as receiver, sending(receiver.url) as webhook:
        receiver.answer = answering(200, {"connection": "close"})
        await webhook.send(HELD)
        await webhook.send(HELD)
    assert (len(receiver.taken), receiver.connections) == (2, 2)


async def test_a_receiver_gets_few_events_at_a_time_and_none_is_left_out() -> None:
    free = asyncio.Event()

    async def answer_later(request: web.BaseRequest) -> web.StreamResponse:
        await free.wait()
        return web.Response(status=204)

    async with receiving() as receiver, sending(receiver.url) as webhook, asyncio.TaskGroup() as tasks:
        receiver.answer = answer_later
        for _ in range(3 * CONNECTIONS):
            tasks.create_task(webhook.send(HELD))
        await until(lambda: len(receiver.taken) == CONNECTIONS)
        await asyncio.sleep(0)
        assert receiver.connections == CONNECTIONS
        free.set()
    assert len(receiver.taken) == 3 * CONNECTIONS
    assert receiver.connections == CONNECTIONS


async def test_close_ends_what_is_still_being_sent() -> None:
    async with raw_receiving(holding(b"")) as raw, sending(raw.url) as webhook:
        sent = asyncio.create_task(webhook.send(HELD))
        await until(lambda: raw.requests == 1)
        await webhook.close()
        with pytest.raises(WebhookFailed):
            await sent
        await until(lambda: raw.ended == 1)
        await webhook.close()  # once more, without an error


async def test_a_cancelled_event_leaves_no_connection() -> None:
    async with raw_receiving(holding(b"")) as raw, sending(raw.url) as webhook:
        sent = asyncio.create_task(webhook.send(HELD))
        await until(lambda: raw.requests == 1)
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        await until(lambda: raw.ended == 1)


async def test_a_certificate_of_a_trusted_authority_for_the_name_is_accepted() -> None:
    async with (
        receiving(server_context("shop.example")) as receiver,
        sending(named(receiver), resolver=NAMES, tls=trusting()) as webhook,
    ):
        await webhook.send(HELD)
    assert receiver.taken[0].headers["host"].startswith("shop.example:")


@pytest.mark.parametrize(
    ("host", "by", "until", "why"),
    [
        ("shop.example", "unknown", None, "self-signed certificate in certificate chain|unable to get local issuer"),
        ("other.example", "trusted", None, "Hostname mismatch"),
        ("shop.example", "trusted", datetime(2020, 1, 1, tzinfo=UTC), "certificate has expired"),
    ],
)
async def test_no_event_is_sent_to_a_receiver_without_a_valid_certificate(
    host: str, by: str, until: datetime | None, why: str
) -> None:
    async with (
        receiving(server_context(host, by, until)) as receiver,
        sending(named(receiver), resolver=NAMES, tls=trusting()) as webhook,
    ):
        with pytest.raises(WebhookFailed, match=rf"^its certificate is not valid: .*({why})"):
            await webhook.send(HELD)
    assert receiver.taken == []


async def test_an_authority_has_to_be_trusted_by_the_system() -> None:
    async with (
        receiving(server_context("shop.example")) as receiver,
        sending(named(receiver), resolver=NAMES) as webhook,
    ):
        assert (await reason(webhook)).startswith("its certificate is not valid: ")
    assert receiver.taken == []


async def test_a_receiver_without_tls_is_not_connected_to_with_https() -> None:
    async with receiving() as receiver, sending(receiver.url.replace("http://", "https://")) as webhook:
        assert (await reason(webhook)).startswith("no connection: ")
    assert receiver.taken == []


async def test_a_name_without_an_address_is_a_failure() -> None:
    async with sending("https://nowhere.example/hunter2", resolver=NAMES) as webhook:
        assert await reason(webhook) == "its name has no address: no such name"
