"""Starts while the database fails: a moment's failure does not stop a start, a database that stays away does."""

from dataclasses import replace
from pathlib import Path

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.pool import Pool
from api.settings import Settings
from api.startup import START_BUDGET, prepare
from tests.command import dropzero_serve
from tests.dsql.stand_in import StandIn
from tests.dsql.token import CREDENTIALS
from tests.regions import HOME
from tests.server import serving

LOST, CONFLICT = None, "40001"
REGIONS = "{ regions { healthy } }"


@pytest.fixture
def settings(settings: Settings, home: StandIn) -> Settings:
    """Settings with one endpoint, so that nothing but the start connects to the database."""
    return replace(settings, endpoints=(Endpoint(HOME, home.url),))


@pytest.mark.slow
async def test_a_server_serves_wherever_a_connection_was_lost_during_its_start(
    settings: Settings, home: StandIn
) -> None:
    async with serving(settings):
        steps = home.steps
    assert steps > 20
    for step in range(1, steps + 1):
        home.failing_steps = {home.steps + step: LOST}
        async with serving(settings) as server:
            assert not home.failing_steps, f"step {step} did not come"
            assert await server.data(REGIONS) == {"regions": [{"healthy": True}]}


@pytest.mark.slow
@pytest.mark.parametrize("how", [LOST, CONFLICT])
async def test_the_start_succeeds_wherever_two_steps_in_a_row_fail(
    settings: Settings, home: StandIn, behind: Pool, how: str | None
) -> None:
    await prepare(settings, embedded=True)
    steps = home.steps
    for step in range(1 if how is LOST else 2, steps + 1, 2):  # so that each step fails in each place once
        await behind.execute("TRUNCATE products, stock_shards")
        home.failing_steps = {home.steps + step: how, home.steps + step + 1: how}
        await prepare(settings, embedded=True)
        assert not home.failing_steps, f"step {step} did not come"
        [row] = await behind.fetch("SELECT (SELECT count(*) FROM products), (SELECT sum(stock) FROM stock_shards)")
        assert tuple(row) == (4, 180)


@pytest.mark.slow
async def test_worker_processes_start_whose_connections_are_lost(
    settings: Settings, home: StandIn, tmp_path: Path
) -> None:
    await prepare(settings, embedded=False)
    before = home.steps  # the process that starts the workers takes as many steps
    home.failing_steps = {2 * before + step: LOST for step in (1, 2, 20, 40)}
    variables = {"DROPZERO_ENDPOINTS": f"{HOME}={home.url}", **CREDENTIALS}
    async with dropzero_serve(tmp_path / "unused", "--workers", "2", **variables) as server:
        assert not home.failing_steps
        assert await server.data(REGIONS) == {"regions": [{"healthy": True}]}
    assert "Traceback" not in server.log


@pytest.mark.slow
@pytest.mark.parametrize("embedded", [False, True])
async def test_a_database_that_is_away_ends_a_start_with_its_reason(
    settings: Settings, home: StandIn, embedded: bool
) -> None:
    home.refusing = True
    with pytest.raises(Unavailable, match="too many open connections; run fewer servers"):
        await prepare(settings, embedded=embedded)
    assert 1 < home.connections_opened <= START_BUDGET.attempts * 3  # each read is tried three times
