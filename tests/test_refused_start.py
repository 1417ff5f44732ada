"""When the system refuses what a start needs, the command ends with one line of advice, and leaves no process."""

import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import NoReturn

import pytest

from api.process import LEAST_FILES
from tests.command import DROPZERO, Run, dropzero, dropzero_here, ended, environment, started
from tests.database.owner import processes_on
from tests.database.test_embedded import directory, made

__all__ = ["directory", "made"]

pytestmark = pytest.mark.slow

LIMITED = """
import os, resource, sys
limit = getattr(resource, sys.argv[1])
resource.setrlimit(limit, (int(sys.argv[2]),) * 2)
os.execvp(sys.argv[3], sys.argv[3:])
"""


async def limited(directory: Path, limit: str, most: int, **variables: str) -> Run:
    """Run `dropzero serve` under a limit of the system."""
    serve = [sys.executable, "-c", LIMITED, limit, str(most), *DROPZERO, "serve", "--port", "0"]
    there = environment({"DROPZERO_DATA": str(directory), **variables})
    async with started(*serve, env=there, stdout=PIPE, stderr=PIPE) as process:
        return await ended(process)


def assert_one_line(run: Run, pattern: str) -> None:
    assert (run.status, run.out) == (1, ""), run.err
    [line] = [line for line in run.err.splitlines() if " INFO " not in line]
    assert re.fullmatch(rf"dropzero: {pattern}", line), line


@pytest.mark.parametrize(
    ("name", "what"), [("operator-token", "the operator's token"), ("guest-key", "the key of guest tokens")]
)
async def test_a_folder_in_the_place_of_a_secret_ends_the_start_with_one_line(
    directory: Path, name: str, what: str
) -> None:
    (directory / name).mkdir()
    run = await dropzero("serve", "--port", "0", DROPZERO_DATA=str(directory))
    assert_one_line(run, rf"cannot keep {what} in {directory}/{name}: Is a directory; remove .*")
    assert processes_on(directory) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="for its own processes another user has too few to tell")
async def test_a_process_that_cannot_start_ends_the_start_with_one_line(directory: Path) -> None:
    run = await limited(directory, "RLIMIT_NPROC", 0)
    assert_one_line(
        run, r"cannot start PostgreSQL's program .*/postgres: Resource temporarily unavailable; .*ulimit -u.*"
    )
    assert processes_on(directory) == {}


@pytest.mark.parametrize("files", [6, 8, 24, LEAST_FILES - 1])
@pytest.mark.parametrize("endpoints", [{}, {"DROPZERO_ENDPOINTS": "ap-northeast-1=postgresql://ada@127.0.0.1:9/shop"}])
async def test_too_few_files_end_the_start_with_one_line(
    directory: Path, files: int, endpoints: dict[str, str]
) -> None:
    run = await limited(directory, "RLIMIT_NOFILE", files, **endpoints)
    assert_one_line(
        run, rf"this process may open {files} files, and needs {LEAST_FILES}; raise the limit \(ulimit -n\)"
    )
    assert processes_on(directory) == {}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(28, "No space left on device", "/x/y"),
            "/x/y: No space left on device; check the limits of processes",
        ),
        (OSError("odd"), "odd; check the limits of processes"),
        (RuntimeError("can't start new thread"), "can't start new thread; check the limits of processes"),
    ],
    ids=repr,
)
async def test_an_error_without_a_message_of_ours_ends_the_start_with_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> NoReturn:
        raise error

    monkeypatch.setattr("api.graphql.schema.sdl", refuse)
    run = await dropzero_here("schema")
    assert (run.status, run.out, run.err.count("\n")) == (1, "", 1)
    assert run.err.startswith(f"dropzero: {said}")
