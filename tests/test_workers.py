"""Several processes that serve at one address, and share only the database."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest

from tests.command import dropzero_here, dropzero_serve
from tests.server import ADMIN_TOKEN


@pytest.mark.slow
async def test_two_processes_sell_exactly_the_stock_and_stop_together(tmp_path: Path, postgres_url: str) -> None:
    here = f"here={postgres_url}"
    variables = {"DROPZERO_ENDPOINTS": here, "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
    async with dropzero_serve(tmp_path / "unused", "--workers", "2", **variables) as server:
        product_id = await server.create_product(stock=100)
        purchases = [server.purchase(product_id, f"buyer-{number}") for number in range(300)]
        outcomes = Counter(outcome["status"] for outcome in await asyncio.gather(*purchases))

        assert outcomes == {"CONFIRMED": 100, "SOLD_OUT": 200}
        assert (await dropzero_here("audit", DROPZERO_ENDPOINTS=here)).status == 0
        assert await server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log
