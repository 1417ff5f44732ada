"""`dropzero load` and `dropzero race` on servers with endpoints configured: the operator names every buyer."""

import re
from pathlib import Path

import pytest

from api.settings import EMBEDDED_REGIONS
from tests.command import dropzero_here, dropzero_serve
from tests.server import ADMIN_TOKEN

COMMANDS = (("load", "--purchases", "60", "--units", "20", "--buyers", "10"), ("race", "--rounds", "3"))


@pytest.mark.slow
async def test_the_operator_buys_for_many_buyers(tmp_path: Path, postgres_url: str) -> None:
    endpoints = ",".join(f"{region}={postgres_url}" for region in EMBEDDED_REGIONS)
    variables = {"DROPZERO_ENDPOINTS": endpoints, "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
    async with dropzero_serve(tmp_path / "server", **variables) as server:
        for command in COMMANDS:
            run = await dropzero_here(*command, DROPZERO_URL=server.url, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
            assert (run.status, run.err) == (0, ""), run.out

            wrong = {"DROPZERO_ADMIN_TOKEN": "another-servers-token"}
            for token in ({}, wrong):
                run = await dropzero_here(*command, DROPZERO_URL=server.url, DROPZERO_DATA=str(tmp_path), **token)
                assert run.status == 1
                assert re.search("set DROPZERO_ADMIN_TOKEN", run.err)
        assert (await dropzero_here("audit", DROPZERO_ENDPOINTS=endpoints)).status == 0
