"""docs/runbook.md: it names what there is, and its console blocks print what it shows once things went wrong."""

import ast
import asyncio
import logging
import re
import shlex
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.settings import read_settings
from api.webhooks.webhook_settings import WebhookSettings
from tests.command import dropzero_serve
from tests.console import Console, steps, unseen
from tests.drops.happenings import change
from tests.faults import FaultyEndpoint
from tests.links import anchors
from tests.locks import stock_held, until_blocked
from tests.log_lines import unlogged
from tests.metrics.scraped import Scrape
from tests.options import command_of
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES, short, until
from tests.regions import HOME, PEER
from tests.server import ADMIN_TOKEN, Server, serving
from tests.webhooks.receiver import SECRET, Receiver, answering, receiving

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
START, *SECTIONS = PAGE.split("\n## ")[1:]
FUNCTIONS = "\n".join(step.command for step in steps(START) if "() {" in step.command)
PARTS = ["You see", "It means", "Do", "Over when", "Tried by"]

Variables: TypeAlias = dict[str, str]
Logged: TypeAlias = Callable[[str], Callable[[], bool]]
"""Finds the line of the log that a section quotes, by some of its words, and returns whether it was logged."""


def title(section: str) -> str:
    return section.partition("\n")[0]


def codes(text: str) -> list[str]:
    """What stands in backticks."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`", prose)]


def commands() -> list[str]:
    """Every command of the page, in a block or in a sentence."""
    named = [code for code in codes(PAGE) if re.match(r"(dropzero|metrics|graphql|curl) ", code)]
    return [*named, *(step.command for step in steps(PAGE))]


every_section = pytest.mark.parametrize("section", SECTIONS, ids=title)

MOST_LINES = 14
"""Of a section, without its block: it is read at night."""


def test_every_alert_has_its_section_and_three_sections_have_none() -> None:
    alerts = (ROOT / "docs" / "alerts.yml").read_text(encoding="utf-8")
    named = set(re.findall(r"docs/runbook\.md#(\S+)", alerts))
    headings = {title(section).lower().replace(" ", "-") for section in SECTIONS}
    assert named < headings <= anchors(ROOT / "docs" / "runbook.md")
    assert len(headings - named) == 3
    listed = re.findall(r"`(Dropzero\w+)`", PAGE.partition("\n## ")[0])
    assert listed == list(dict.fromkeys(re.findall(r"- alert: (\w+)", alerts)))


@every_section
def test_a_section_is_short_and_has_its_five_parts(section: str) -> None:
    assert re.findall(r"^- \*\*([^*]+)\*\*", section, re.M) == PARTS
    prose = re.sub(r"^( *)```.*?^\1```$", "", section, flags=re.M | re.S)
    assert len([line for line in prose.splitlines()[1:] if line.strip()]) <= MOST_LINES


def test_every_line_of_the_log_is_logged_somewhere() -> None:
    lines = [code for code in codes(PAGE) if re.search(r"\w … |: …|; …", code)]
    assert len(lines) > 10
    assert unlogged(lines) == []


def test_every_metric_exists() -> None:
    listed = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    named = {name for code in codes(PAGE) for name in re.findall(r"^dropzero_\w+", code)}
    assert len(named) > 10
    assert [name for name in named if f"| `{name}` |" not in listed] == []


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    for file, name in named:
        functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        assert name in {each.name for each in functions if isinstance(each, ast.AsyncFunctionDef | ast.FunctionDef)}
    for section in SECTIONS:
        tried = section.partition("**Tried by**")[2]
        assert "::test_" in tried or steps(section), title(section)


def test_every_command_can_be_typed_as_it_is() -> None:
    typed = [re.sub(r" [>|].*", "", command) for command in commands()]
    own = [text for text in typed if text.startswith("dropzero ")]
    assert len(own) > 20
    for text in own:
        words = shlex.split(text)[1:]
        command = command_of(words)
        command.make_context(command.name, words)  # raises UsageError


@dataclass(frozen=True)
class Shop:
    """A server as in production: tokens are needed, the second Region can fail, and events go to a receiver."""

    server: Server
    pool: Pool
    peer: FaultyEndpoint
    receiver: Receiver
    console: Console

    async def metric(self, name: str) -> float:
        """The sum of the samples of a metric."""
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        async with self.server.session.get(f"{self.server.url}/metrics", headers=headers) as response:
            return Scrape(await response.text()).value(name)

    async def until_metric(self, name: str, is_met: Callable[[float], bool]) -> None:
        async def met() -> bool:
            return is_met(await self.metric(name))

        await until(met)

    async def order(self, product_id: str, buyer: str) -> dict[str, Any]:
        """Buy one unit, and return the order with its reference."""
        bought = (await self.server.purchase(product_id, buyer))["order"]
        read = "query ($id: ID!) { order(id: $id) { id reference } }"
        order: dict[str, Any] = (await self.server.data(read, {"id": bought["id"]}, token=ADMIN_TOKEN))["order"]
        return order


@pytest.fixture(scope="module")
async def shop(shared_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.drops.lapsing.SHORTEST_PAUSE", 0.1)
        patch.setattr("api.drops.lapsing.LONGEST_PAUSE", 0.2)
        async with (
            FaultyEndpoint(shared_database_url).listening() as peer,
            receiving() as receiver,
            Pool(Endpoint("behind", shared_database_url), size=3, times=PATIENT_TIMES.pool) as pool,
        ):
            settings = replace(
                read_settings({"DROPZERO_ENDPOINTS": f"{HOME}={shared_database_url},{PEER}={peer.url}"}),
                admin_token=ADMIN_TOKEN,
                budget=PATIENT_BUDGET,
                region_times=PATIENT_TIMES,
                webhook=WebhookSettings(receiver.url, (SECRET,), private=True),
                events=True,
            )
            async with serving(settings) as server:
                variables = {
                    "DROPZERO_URL": server.url,
                    "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
                    "DROPZERO_ENDPOINTS": f"{HOME}={shared_database_url}",
                    "DROPZERO_DATA": str(tmp_path_factory.mktemp("data")),
                }
                console = Console(tmp_path_factory.mktemp("console"), FUNCTIONS, variables)
                yield Shop(server, pool, peer, receiver, console)


@asynccontextmanager
async def server_down(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    there = {name: shop.console.variables[name] for name in ("DROPZERO_ENDPOINTS", "DROPZERO_ADMIN_TOKEN")}
    async with dropzero_serve(shop.console.folder / "killed", **there) as killed:
        await killed.stop(signal.SIGKILL)
        gone = shop.console.with_variables({"DROPZERO_URL": killed.url})
        assert "Failed to connect" in await gone.run("curl -sS -m 5 $DROPZERO_URL/healthz")
        assert "failed   server" in await gone.run("dropzero doctor --url $DROPZERO_URL")
    async with dropzero_serve(shop.console.folder / "again", **there) as again:
        assert await shop.console.run(f"curl -sS -m 5 {again.url}/healthz") == "ok\n"
        yield {"DROPZERO_URL": again.url}


@asynccontextmanager
async def region_away(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    shop.peer.down()
    await shop.until_metric("dropzero_region_away", lambda away: away == 1)
    await until(logged("is away"))
    both = {"DROPZERO_ENDPOINTS": f"{shop.console.variables['DROPZERO_ENDPOINTS']},{PEER}={shop.peer.url}"}
    assert f"failed   {PEER}" in await shop.console.with_variables(both).run("dropzero doctor")
    await shop.peer.up()
    await until(logged("answers again"))
    yield {}


@asynccontextmanager
async def purchases_slow(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    product = await shop.server.create_product()
    before = await shop.metric("dropzero_purchase_seconds_sum")
    wait = short(0.2)
    async with stock_held(shop.pool, product):
        buying = asyncio.create_task(shop.server.purchase(product))
        await until_blocked(shop.pool)
        await asyncio.sleep(wait)
    await buying
    assert await shop.metric("dropzero_purchase_seconds_sum") - before >= wait
    yield {}


@asynccontextmanager
async def webhook_down(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    product = await shop.server.create_product(stock=100)
    shop.receiver.answer = answering(503)
    for number in range(20):
        assert (await shop.server.purchase(product, f"buyer-{number}"))["status"] == "CONFIRMED"
    await shop.until_metric("dropzero_webhook_down", lambda down: down == 1)
    assert logged("takes no events")()
    shop.receiver.answer = None
    await until(logged("takes events again"))
    await change(shop.pool, "UPDATE parcels SET due = now() WHERE first > 0")
    await shop.until_metric("dropzero_events_waiting", lambda waiting: waiting == 0)
    yield {}


@asynccontextmanager
async def holds_not_ending(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    stray = uuid4()
    await shop.pool.execute(
        "INSERT INTO orders (id, product_id, user_ref, quantity, status, region, held_until) "
        "VALUES (gen_random_uuid(), $1, 'ada', 1, 'CONFIRMED', 'here', now() - interval '1 hour')",
        stray,
    )
    await shop.until_metric("dropzero_holds_overdue_seconds", lambda seconds: seconds > 30)
    await until(logged("of the product"))
    await shop.pool.execute("DELETE FROM orders WHERE product_id = $1", stray)
    await shop.until_metric("dropzero_holds_overdue_seconds", lambda seconds: seconds < 5)
    yield {}


@asynccontextmanager
async def refused_tokens(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    wrong = {"authorization": "Bearer an-old-token-of-prometheus"}
    async with shop.server.session.get(f"{shop.server.url}/metrics", headers=wrong) as response:
        assert response.status == 401
    before = await shop.metric("dropzero_refused_tokens_total")
    yield {}
    assert await shop.metric("dropzero_refused_tokens_total") == before + 1
    assert logged("more are logged")()


@asynccontextmanager
async def wrong_limit(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    product = await shop.server.create_product()
    order = await shop.order(product, "ada")
    yield {"PRODUCT": product, "REFERENCE": order["reference"]}
    assert (await shop.server.purchase(product, "bob", quantity=2))["status"] == "LIMIT_REACHED"
    assert (await shop.server.purchase(product, "bob"))["status"] == "CONFIRMED"
    log = await shop.console.run(f"dropzero orders log --product {product}")
    done = re.findall(r"(?:PRODUCT|ORDER)_[A-Z]+", log)
    assert done == ["PRODUCT_RESUMED", "ORDER_CANCELLED", "PRODUCT_UPDATED", "PRODUCT_PAUSED", "PRODUCT_CREATED"]


@asynccontextmanager
async def paid_without_an_order(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    order = await shop.order(await shop.server.create_product(holdSeconds=3600), "bob")
    variables = {"REFERENCE": order["reference"], "ORDER": order["id"], "PAYMENT": "pi_1"}
    yield variables
    shown = await shop.console.with_variables(variables).run("dropzero orders show $REFERENCE")
    assert re.search(r"^status +CONFIRMED$", shown, re.M)
    assert re.search(r"^paymentRef +pi_1$", shown, re.M)


@asynccontextmanager
async def counts_that_differ(shop: Shop, logged: Logged) -> AsyncIterator[Variables]:
    product = await shop.server.create_product()
    await shop.server.purchase(product, quantity=2)
    move = "UPDATE stock_shards SET stock = stock + $2 WHERE product_id = $1 AND shard = 9"
    await shop.pool.execute(move, product, -1)
    assert f"the books do not balance; {product}" in await shop.console.run("dropzero audit")
    for command in (code for code in codes(PAGE) if re.search(r"> \w+\.json$", code)):
        await shop.console.run(command)
        saved = shop.console.folder / command.rpartition(" ")[2]
        assert product in saved.read_text(encoding="utf-8"), command
    await shop.pool.execute(move, product, 1)
    yield {"PRODUCT": product}
    exported = (shop.console.folder / "orders.jsonl").read_text(encoding="utf-8")
    assert product in exported


HAPPENS: dict[str, Callable[[Shop, Logged], AbstractAsyncContextManager[Variables]]] = {
    "Server down": server_down,
    "Region away": region_away,
    "Purchases slow": purchases_slow,
    "Webhook down": webhook_down,
    "Holds not ending": holds_not_ending,
    "Refused tokens": refused_tokens,
    "The price or the limit of the drop is wrong": wrong_limit,
    "A buyer says that they have paid and have no order": paid_without_an_order,
    "The counts do not add up": counts_that_differ,
}
"""What happens before the block of a section is run. Each yields the variables of the block when it is over."""


def test_every_block_is_run() -> None:
    assert list(HAPPENS) == [title(section) for section in SECTIONS if steps(section)]


@pytest.mark.slow
@pytest.mark.parametrize("section", [section for section in SECTIONS if steps(section)], ids=title)
async def test_the_block_of_a_section_prints_what_the_page_shows(
    shop: Shop, section: str, caplog: pytest.LogCaptureFixture
) -> None:
    def logged(words: str) -> Callable[[], bool]:
        """Whether the line of the section that has these words was logged."""
        [line] = {code for code in codes(section) if words in code and "…" in code}
        parts = re.split(r"…|;|\bREGION\b|\bPEER\b", line)
        pattern = ".*".join(re.escape(part.strip(" :")) for part in parts)
        return lambda: any(re.search(pattern, record.getMessage()) for record in caplog.records)

    caplog.set_level(logging.INFO, "dropzero")
    async with HAPPENS[title(section)](shop, logged) as variables:
        console = shop.console.with_variables(variables)
        for step in steps(section):
            printed = await console.run(step.command)
            assert unseen(step, printed) == [], printed


@pytest.mark.slow
async def test_the_figures_that_the_sentences_ask_for_are_there(shop: Shop) -> None:
    asked = [code for code in codes(PAGE) if code.startswith("metrics ")]
    assert len(asked) > 5
    for command in asked:
        printed = await shop.console.run(command)
        for word in re.findall(r"[A-Za-z_]{4,}", command.removeprefix("metrics ")):
            assert word in printed, command
