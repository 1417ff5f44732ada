"""Receivers that are slow, lie, or answer something else than HTTP: each costs one connection for a bounded time."""

from dataclasses import replace

import pytest

from api.webhooks.bounded_answer import MAX_ANSWER
from api.webhooks.webhook import WebhookTimes
from tests.patience import PATIENCE, short, until
from tests.webhooks.names import Unanswered
from tests.webhooks.raw_receiver import ACCEPTED, Conversation, holding, raw_receiving, repeating, saying
from tests.webhooks.receiver import HELD, PATIENT, reason, sending

IMPATIENT = replace(PATIENT, answer=short(0.2))
TOO_LONG = f"its answer has more than {MAX_ANSWER} bytes"
CHUNKED = ACCEPTED + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "answer",
    [
        holding(b""),
        holding(b"HTTP/1.1 200 OK\r\n"),
        repeating(ACCEPTED, b"x", short(0.01)),
        repeating(ACCEPTED + b"x-long: ", b"x", short(0.01)),
        repeating(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", short(0.01)),
    ],
    ids=[
        "silent",
        "silent after a status",
        "dripping a status",
        "dripping a header",
        "early hints",
    ],
)
async def test_a_receiver_without_an_answer_is_left_at_the_deadline(answer: Conversation) -> None:
    async with raw_receiving(answer) as raw, sending(raw.url, IMPATIENT) as webhook:
        assert await reason(webhook) == f"no answer within {IMPATIENT.answer:g} s"
        await until(lambda: raw.left)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (saying(b""), "it closed the connection without an answer"),
        (saying(b"HTTP/1.1 200"), "it closed the connection without an answer"),
        (saying(ACCEPTED + b"content-le"), "it closed the connection without an answer"),
        (saying(b"SSH-2.0-OpenSSH_9.2p1\r\n"), "its answer is not HTTP"),
        (saying(b"HTTP/1.1 200 OK\r\nhunter2\r\n\r\n"), "its answer is not HTTP"),
        (saying(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: hunter2\r\n\r\n"), "it answered 101"),
        (repeating(ACCEPTED, b"x" * 65536), TOO_LONG),
        (repeating(ACCEPTED, b"x: " + b"hunter2" * 100 + b"\r\n"), TOO_LONG),
        (repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), TOO_LONG),
    ],
    ids=["closed", "cut in the status", "cut in a header", "ssh", "no header", "101", "a long line", "headers", "100s"],
)
async def test_an_answer_that_is_not_complete_http_is_a_failure(answer: Conversation, why: str) -> None:
    async with raw_receiving(answer) as raw, sending(raw.url) as webhook:
        assert await reason(webhook) == why
        await until(lambda: raw.ended == 1)
    assert raw.requests == 1


@pytest.mark.parametrize(
    "answer",
    [
        saying(ACCEPTED + b"content-length: 10\r\n\r\nshort"),
        saying(CHUNKED + b"5\r\nshort\r\n"),
        saying(ACCEPTED + b"\r\n"),
        repeating(ACCEPTED + b"\r\n", b"x" * MAX_ANSWER),
        repeating(CHUNKED, b"1000\r\n" + b"x" * 4096 + b"\r\n"),
        repeating(ACCEPTED + b"content-encoding: gzip\r\n\r\n", b"x" * MAX_ANSWER),
        repeating(ACCEPTED + b"content-length: 1000000000000\r\n\r\n", b"x" * MAX_ANSWER),
    ],
    ids=["cut", "cut in chunks", "no length", "endless", "endless chunks", "compressed", "a terabyte"],
)
async def test_the_status_counts_whatever_follows_and_no_long_body_is_read(answer: Conversation) -> None:
    async with raw_receiving(answer) as raw, sending(raw.url) as webhook:
        await webhook.send(HELD)
        await until(lambda: raw.ended == 1)
        await webhook.send(HELD)
        await until(lambda: raw.ended == 2)


@pytest.mark.parametrize(
    "answer", [repeating(CHUNKED, b"1\r\nx\r\n", short(0.01)), holding(ACCEPTED + b"content-length: 5\r\n\r\n")]
)
async def test_a_slow_body_does_not_keep_its_connection(answer: Conversation) -> None:
    async with raw_receiving(answer) as raw, sending(raw.url, replace(PATIENT, body=short(0.1))) as webhook:
        await webhook.send(HELD)
        await until(lambda: raw.ended == 1)


async def test_the_deadline_is_for_the_status_and_not_for_the_body() -> None:
    times = WebhookTimes(answer=PATIENCE, connect=PATIENCE, body=short(0.1))
    failure = b"HTTP/1.1 503 Service Unavailable\r\ntransfer-encoding: chunked\r\n\r\n"
    async with raw_receiving(repeating(failure, b"1\r\nx\r\n", short(0.01))) as raw, sending(raw.url, times) as webhook:
        assert await reason(webhook) == "it answered 503"
        await until(lambda: raw.ended == 1)


async def test_a_handshake_has_the_deadline_of_a_connection() -> None:
    times = replace(PATIENT, connect=short(0.2))
    async with raw_receiving(holding(b"")) as raw, sending(raw.url.replace("http:", "https:"), times) as webhook:
        assert await reason(webhook) == f"no connection within {times.connect:g} s"
        await until(lambda: raw.left)


async def test_a_name_has_to_be_resolved_by_the_deadline() -> None:
    async with sending("https://shop.example/hunter2", IMPATIENT, resolver=Unanswered()) as webhook:
        assert await reason(webhook) == f"no answer within {IMPATIENT.answer:g} s"


async def test_a_receiver_that_takes_no_connection_is_left() -> None:
    async with raw_receiving(holding(b"")) as raw:
        pass
    async with sending(raw.url) as webhook:
        assert (await reason(webhook)).startswith("no connection: ")
