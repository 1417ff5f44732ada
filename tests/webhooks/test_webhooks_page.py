"""docs/webhooks.md: its events and fields are those of the code, and its receiver runs as it stands."""

import asyncio
import json
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import orjson

from api.drops.events import EventType, order_data, order_of_data
from api.drops.old_events import KEPT_FOR
from api.drops.parcels import GIVE_UP
from api.drops.sending import DOWN_AFTER
from api.webhooks.retry_after import MAX_RETRY_AFTER
from api.webhooks.webhook import WebhookTimes
from tests.command import environment, started
from tests.patience import PATIENCE
from tests.webhooks.receiver import HELD, OTHER_SECRET, SECRET, reason, sending

PAGE = (Path(__file__).parent.parent.parent / "docs" / "webhooks.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
LISTEN = 'ThreadingHTTPServer(("127.0.0.1", 9000), Receiver).serve_forever()'
LISTEN_ANYWHERE = """
server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, flush=True)
server.serve_forever()
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.M | re.S)


async def test_the_receiver_in_python_takes_each_event_once_and_refuses_what_is_not_signed() -> None:
    [example] = blocks("python")
    assert LISTEN in example
    run = [sys.executable, "-c", example.replace(LISTEN, LISTEN_ANYWHERE)]
    secret = environment({"DROPZERO_WEBHOOK_SECRET": SECRET})
    async with started(*run, env=secret, stdout=PIPE, stderr=PIPE) as process, asyncio.timeout(PATIENCE):
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(await process.stdout.readline())}/webhooks"
        async with sending(url, secrets=(OTHER_SECRET,)) as stranger:
            assert await reason(stranger) == "it answered 400"
        async with sending(url, secrets=(OTHER_SECRET, SECRET)) as webhook:
            await webhook.send(HELD)
            await webhook.send(HELD)
        process.terminate()
        printed = (await process.stdout.read()).decode().splitlines()
    assert printed == [f"order.held {json.loads(HELD.data)}"]


def test_every_type_of_event_is_described() -> None:
    table = PAGE.partition("| type | when |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z_.]+)` \|", table, re.M) == list(EventType)


def test_the_body_is_that_of_an_order() -> None:
    [body] = (json.loads(block) for block in blocks("json"))
    assert list(body) == ["type", "timestamp", "data"]
    order = order_of_data(body["data"])
    assert orjson.loads(orjson.dumps(order_data(order))) == body["data"]


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"It answers 2xx within {WebhookTimes().answer:g} s" in PROSE
    assert MAX_RETRY_AFTER == 3600
    assert "`Retry-After` in the answer is respected, up to an hour" in PROSE
    assert f"After {DOWN_AFTER} failures in a row" in PROSE
    assert GIVE_UP.days == 3
    assert "events that failed for three days" in PROSE
    assert KEPT_FOR.days == 7
    assert "Events are kept for seven days" in PROSE
