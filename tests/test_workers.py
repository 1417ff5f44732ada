"""Several processes that serve at one address, and meet only in the database."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

from tests.command import Serving, dropzero, dropzero_serve

SAMPLE = "0d509e70-0000-4000-8000-000000000001"


async def buy(server: Serving, number: int) -> str:
    outcome = await server.purchase(SAMPLE, f"buyer-{number}")
    status: str = outcome["status"]
    return status


async def test_two_processes_sell_exactly_the_stock_and_stop_together(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with dropzero_serve(data, "--workers", "2") as server:
        outcomes = Counter(await asyncio.gather(*(buy(server, number) for number in range(300))))

        assert outcomes == {"CONFIRMED": 100, "SOLD_OUT": 200}
        assert (await dropzero("audit", DROPZERO_DATA=str(data))).status == 0
        assert await server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log
