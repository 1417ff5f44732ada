"""`dropzero doctor` as its users run it."""

import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from tests.command import dropzero_here, ended, environment, started
from tests.dsql.stand_in import StandIn
from tests.dsql.token import CREDENTIALS, SECRET_ACCESS_KEY
from tests.regions import HOME, PEER

TOKEN = "the-operators-token-0123456789abcdef"


async def test_the_findings_of_two_regions_are_printed(home: StandIn, peer: StandIn, tmp_path: Path) -> None:
    variables = {
        "DROPZERO_ENDPOINTS": f"{HOME}={home.url},{PEER}={peer.url}",
        "DROPZERO_ADMIN_TOKEN": TOKEN,
        "DROPZERO_GUEST_KEY": TOKEN,
        "DROPZERO_DATA": str(tmp_path),
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
        **CREDENTIALS,
    }
    run = await dropzero_here("doctor", "--json", "--port", "0", **variables)
    report = json.loads(run.out)
    found = {finding["check"]: finding for finding in report["findings"]}
    assert (run.status, report["ok"], run.err) == (0, True, "")
    assert found[f"{PEER} login"]["level"] == "ok"
    assert found["Regions"]["found"] == f"{HOME}, {PEER} are one database"
    assert found["AWS credentials"]["found"] == "the access key never expires"
    assert found["hosts"]["mend"].startswith("set DROPZERO_HOSTS")

    peer.revoked = {"app"}
    home.down()
    run = await dropzero_here("doctor", "--port", "0", **variables)
    assert (run.status, "schema" in run.out) == (1, False), "nothing is checked through a login that failed"
    assert f"failed   {PEER} login" in run.out

    peer.revoked = set()
    run = await dropzero_here("doctor", "--port", "0", **variables)
    assert run.status == 1
    assert f"failed   {HOME} network" in run.out
    assert "mend: check the port" in run.out
    assert "ok       schema" in run.out, "what can be checked is checked"
    assert run.out.splitlines()[-1].endswith("1 failed")
    assert not [secret for secret in (TOKEN, SECRET_ACCESS_KEY) if secret in run.out + run.err]


async def test_a_folder_that_holds_no_database_of_this_version_is_found(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("15\n")
    run = await dropzero_here("doctor", "--port", "0", DROPZERO_DATA=str(tmp_path))
    assert run.status == 1
    assert "was made by PostgreSQL 15" in run.out
    assert "mend: move the folder away" in run.out


async def test_a_server_that_is_named_has_to_answer(tmp_path: Path) -> None:
    there = {"DROPZERO_DATA": str(tmp_path / "data")}
    free = await dropzero_here("doctor", "--port", "0", **there)
    assert (free.status, "ok       server" in free.out) == (0, True)
    for arguments, variables in ((("--url", "http://127.0.0.1:1"), {}), ((), {"DROPZERO_URL": "http://127.0.0.1:1"})):
        gone = await dropzero_here("doctor", *arguments, **there, **variables)
        assert (gone.status, "no dropzero answers at http://127.0.0.1:1" in gone.out) == (1, True)


async def test_settings_that_cannot_be_used_end_only_what_needs_them(tmp_path: Path) -> None:
    run = await dropzero_here("doctor", DROPZERO_DATA=str(tmp_path), DROPZERO_SOCKETS="many")
    assert run.status == 1
    assert "failed   settings" in run.out
    assert "DROPZERO_SOCKETS: expected a whole number" in run.out
    assert "ok       memory" in run.out


@pytest.mark.slow
async def test_a_laptop_before_its_first_start_with_few_files(tmp_path: Path) -> None:
    doctor = f"ulimit -n 300; exec {sys.executable} -m api.cli doctor --port 0"
    there = environment({"DROPZERO_DATA": str(tmp_path / "data")})
    async with started("sh", "-c", doctor, env=there, stdout=PIPE, stderr=PIPE) as process:
        run = await ended(process)
    assert (run.status, run.err) == (0, "")
    assert "warning  files" in run.out
    assert "a process may open 300, too few" in run.out
    assert "none yet; dropzero serve makes one" in run.out
    assert not (tmp_path / "data").exists(), "the doctor changes nothing"
