"""A shop for real clients: products for each outcome of a purchase, and Node.js with the clients' programs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.drops.group_policy import GroupPolicy
from api.settings import Settings
from tests.locks import stock_held, until_blocked
from tests.npm import Actions, Node, install
from tests.patience import PATIENT_TIMES, until
from tests.server import ADMIN_TOKEN, GUEST_KEY, PURCHASE, Server, serving

FOLDER = Path(__file__).parent

PACKAGES = (
    "@apollo/client@4.3.8",
    "@urql/core@6.0.3",
    "@urql/exchange-graphcache@9.0.2",
    "@urql/exchange-persisted@5.0.1",
    "@urql/introspection@1.2.1",
    "gql.tada@1.11.3",
    "graphql@16.15.0",
    "graphql-ws@6.4.2",
    "react-relay@21.0.1",
    "react-test-renderer@19.3.1",
    "react@19.3.1",
    "relay-compiler@21.0.1",
    "relay-runtime@21.0.1",
    "rxjs@7.8.2",
    "typescript@6.0.3",
    "ws@8.23.0",
)

PAST, FUTURE = "2001-02-03T04:05:06Z", "2999-12-31T00:00:00Z"

PRODUCTS: dict[str, dict[str, Any]] = {
    "open": {"stock": 100},
    "held": {"stock": 5, "holdSeconds": 600},
    "last": {"stock": 1},
    "later": {"stock": 5, "opensAt": FUTURE},
    "paused": {"stock": 5},
    "closed": {"stock": 5, "closesAt": PAST},
    "limited": {"stock": 5, "limitPerBuyer": 1},
    "busy": {"stock": 5},
}
"""The products of the drop, by what becomes of a purchase. The list has the newest first."""

REVISION = "query ($id: ID!) { product(id: $id) { revision } }"
RENAME = "mutation ($input: UpdateProductInput!) { updateProduct(input: $input) { name } }"
PAUSE = "mutation ($id: ID!) { pauseProduct(productId: $id) { pausedAt } }"


@dataclass(frozen=True)
class Shop:
    """The arguments of a client's program, and the actions that it can request."""

    arguments: dict[str, object]
    actions: Actions

    async def session(self, node: Node, program: str) -> dict[str, Any]:
        """Run the program, and return what it saw in each of its checks."""
        seen = await node.run(program, json.dumps(self.arguments), actions=self.actions)
        return {check["check"]: check["saw"] for check in seen}


@pytest.fixture(scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node.js with the programs of this folder, the schema and the packages that they import."""
    schema = FOLDER.parents[1] / "schema.graphql"
    return await install(tmp_path_factory.mktemp("clients"), PACKAGES, FOLDER / "programs", schema)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, guest_keys=(GUEST_KEY,))


async def sell(server: Server, product_id: str) -> None:
    """Buy one unit for another buyer, as the operator: the server may execute trusted documents alone."""
    wanted = {"productId": product_id, "userRef": "ada"}
    sold = await server.data(PURCHASE, {"input": wanted}, token=ADMIN_TOKEN)
    assert sold["purchase"]["status"] == "CONFIRMED"


async def change_catalogue(server: Server, product_id: str) -> None:
    """Rename a product, and create one."""
    revision = (await server.data(REVISION, {"id": product_id}))["product"]["revision"]
    renamed = {"productId": product_id, "revision": revision, "name": "renamed"}
    await server.data(RENAME, {"input": renamed}, token=ADMIN_TOKEN)
    await server.create_product(name="new", dropName="First Light")


@asynccontextmanager
async def one_unanswered(server: Server, product_id: str, behind: Pool) -> AsyncIterator[None]:
    """Let the server have a purchase that is answered when the block is left."""
    async with stock_held(behind, product_id):
        purchase = asyncio.create_task(sell(server, product_id))
        await until_blocked(behind)
        yield
    await purchase


@pytest.fixture
async def shop(server: Server, settings: Settings, endpoints: tuple[Endpoint, ...]) -> AsyncIterator[Shop]:
    """A drop with a product for each outcome, on two servers. One of them takes no more purchases."""
    products = {
        name: await server.create_product(name=name, dropName="First Light", **more) for name, more in PRODUCTS.items()
    }
    await server.data(PAUSE, {"id": products["paused"]}, token=ADMIN_TOKEN)

    async def until_counted(metric: str, count: int) -> None:
        async def counted() -> bool:
            return (await server.metrics())[metric] == count

        await until(counted)

    full = replace(settings, group=GroupPolicy(max_unanswered=1))
    async with (
        serving(full) as busy,
        Pool(endpoints[0], size=2, times=PATIENT_TIMES.pool) as behind,
        one_unanswered(busy, products["busy"], behind),
    ):
        arguments = {
            "url": f"{server.url}/graphql",
            "busyUrl": f"{busy.url}/graphql",
            "drop": "First Light",
            "pageSize": 5,
            "products": products,
            "unknown": str(uuid4()),
        }
        actions = {
            "sell open": partial(sell, server, products["open"]),
            "sell last": partial(sell, server, products["last"]),
            "change the catalogue": partial(change_catalogue, server, products["limited"]),
            "a watcher is there": partial(until_counted, "dropzero_watchers", 1),
            "no watcher is there": partial(until_counted, "dropzero_watchers", 0),
            "a follower is there": partial(until_counted, "dropzero_product_followers", 1),
        }
        yield Shop(arguments, actions)
