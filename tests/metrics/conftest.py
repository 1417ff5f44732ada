"""One scrape after real traffic, for all tests of a module."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from api.database.endpoint import Endpoint
from api.settings import EMBEDDED_REGIONS, read_settings
from api.webhooks.webhook_settings import WebhookSettings
from tests.graphql.subscriptions import WATCH
from tests.graphql.transport import connected
from tests.metrics.scraped import Scrape
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES, until
from tests.server import ADMIN_TOKEN, Server, serving
from tests.webhooks.receiver import SECRET, receiving


@pytest.fixture(scope="module")
async def scrape(shared_database_url: str) -> AsyncIterator[Scrape]:
    """A server with a webhook has sold what it had to a watcher's eyes, refused a token, and is then scraped."""
    async with receiving() as receiver:
        settings = replace(
            read_settings({}),
            endpoints=tuple(Endpoint(region, shared_database_url) for region in EMBEDDED_REGIONS),
            admin_token=ADMIN_TOKEN,
            budget=PATIENT_BUDGET,
            region_times=PATIENT_TIMES,
            webhook=WebhookSettings(receiver.url, (SECRET,), private=True),
            events=True,
        )
        async with serving(settings) as server:
            await sell_out_while_somebody_watches(server)
            await server.ask("{ orders { edges { cursor } } }", token="wrong" * 8)

            async def scraped() -> Scrape:
                async with server.session.get(f"{server.url}/metrics") as response:
                    assert response.status == 200
                    return Scrape(await response.text())

            async def has_everything() -> bool:
                found = await scraped()
                return found.value("dropzero_webhooks_total") > 0 and found.value("dropzero_refusals_total") > 0

            await until(has_everything)
            yield await scraped()


async def sell_out_while_somebody_watches(server: Server) -> None:
    """Sell the two units of a product in three purchases. A watcher sees the first stock and the last one."""
    product_id = await server.create_product(stock=2)
    async with connected(server) as client:
        await client.subscribe(WATCH, {"ids": [product_id]})
        while (await client.next())["stockChanged"]["stock"] > 0:
            await server.purchase(product_id, "ada")
            for region in EMBEDDED_REGIONS:  # each has a tally of its own
                await server.purchase(product_id, "bob", region=region)
