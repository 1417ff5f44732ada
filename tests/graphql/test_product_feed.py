"""The subscription productsChanged: what operators create and change, for all who subscribe."""

import pytest

from tests.graphql.subscriptions import streaming, until_metrics
from tests.graphql.transport import connected
from tests.server import ADMIN_TOKEN, Server

CHANGES = "subscription { productsChanged { id name revision pausedAt drop { name } } }"
PAUSE = "mutation ($id: ID!) { pauseProduct(productId: $id) { pausedAt } }"


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def test_subscribers_share_one_execution_and_get_what_is_new(server: Server) -> None:
    async with connected(server) as client, streaming(server, CHANGES) as stream:
        await client.subscribe(CHANGES)
        await until_metrics(server, product_followers=1, broadcasts=1, watchers=2)

        created = await server.create_product(name="Tee", dropName="First Light")
        expected = {"id": created, "name": "Tee", "revision": 0, "pausedAt": None, "drop": {"name": "First Light"}}
        assert (await client.next())["productsChanged"] == expected
        assert (await stream.next())["productsChanged"] == expected

        async with connected(server) as late:
            await late.subscribe(CHANGES)
            await until_metrics(server, watchers=3)
            paused = (await server.data(PAUSE, {"id": created}, token=ADMIN_TOKEN))["pauseProduct"]
            for each in (client, stream, late):
                change = (await each.next())["productsChanged"]
                assert change == expected | paused | {"revision": 1}, "one who comes later gets nothing older"
    await until_metrics(server, product_followers=0, broadcasts=0)
