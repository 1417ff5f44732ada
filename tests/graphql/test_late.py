"""A process with more requests than it can answer in time: what it refuses, how, and in which order."""

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from starlette.types import ASGIApp

from api.app import create_app
from api.identity.admission import Admission
from api.identity.gate import LATE, LATE_FOR_READS, Gate
from api.settings import Settings
from tests.graphql.transport import connected
from tests.server import PURCHASE, Server, serving

READ = {"query": "{ __typename }"}


class LateGate(Gate):
    """A gate at which every request would wait this many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def wait(self, client: str) -> float:
        return self._seconds


def late(settings: Settings, seconds: float) -> AbstractAsyncContextManager[Server]:
    """A server whose application is this late. Its protocol lets every request begin."""

    def make_app(admission: Admission) -> ASGIApp:
        return create_app(settings, replace(admission, gate=LateGate(seconds)))

    return serving(settings, make_app=make_app)


async def test_reads_are_refused_and_purchases_are_confirmed(settings: Settings) -> None:
    async with late(settings, LATE_FOR_READS + 0.1) as server:
        product_id = await server.create_product()
        async with server.session.post(f"{server.url}/graphql", json=READ) as response:
            [error] = (await response.json())["errors"]
        purchase = await server.purchase(product_id, "ada")

    assert response.status == 429
    assert LATE_FOR_READS <= error["extensions"]["retryAfterMs"] / 1000 <= 1.5 * LATE_FOR_READS + 1
    assert int(response.headers["retry-after"]) >= LATE_FOR_READS
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert purchase["status"] == "CONFIRMED"


async def test_a_read_over_a_websocket_is_refused_in_the_same_way(settings: Settings) -> None:
    async with late(settings, LATE_FOR_READS + 0.1) as server, connected(server) as client:
        await client.subscribe("{ __typename }")
        code, _ = await client.error()

    assert code == "RATE_LIMITED"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_health_and_metrics_are_answered_all_the_same(
    settings: Settings, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(settings) as server:
        product_id = await server.create_product(stock=5)
        monkeypatch.setattr(Gate, "enter", lambda gate, client, begin: begin(False))
        async with server.session.get(server.url + path) as looked:
            assert looked.status == 200
        async with server.session.post(f"{server.url}/graphql", json={"query": PURCHASE}) as response:
            assert (response.status, "retry-after" in response.headers) == (429, True)
        monkeypatch.undo()
        data = await server.data(f'{{ product(id: "{product_id}") {{ stock }} }}')
    assert data["product"]["stock"] == 5


def test_reads_are_refused_before_anything_else() -> None:
    assert LATE_FOR_READS < LATE
