"""The audit of the GraphQL-over-HTTP specification's own reference implementation, npm's graphql-http."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Server

PACKAGES = ("graphql-http@1.23.1", "graphql@16.15.0")
AUDIT = Path(__file__).with_name("http_audit.mjs")
CASES = 61
"""What this version of the audit checks: a case that is gone from its output has not passed."""


async def run(*command: str, directory: Path) -> str:
    """What the command prints; it must go well."""
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, complaints = await process.communicate()
    assert process.returncode == 0, f"{' '.join(command)}: {complaints.decode()}"
    return output.decode()


@pytest.fixture(scope="session")
async def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script beside the packages that it imports."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        reason = "the audit runs on Node.js: install node and npm"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    directory = tmp_path_factory.mktemp("http-audit")
    quietly = ("--prefer-offline", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
    await run("npm", "install", *quietly, *PACKAGES, directory=directory)
    return Path(shutil.copy(AUDIT, directory))


async def test_the_audit_of_graphql_over_http_finds_nothing(server: Server, audit: Path) -> None:
    output = await run("node", audit.name, f"{server.url}/graphql", directory=audit.parent)

    results = [json.loads(line) for line in output.splitlines()]
    assert [result for result in results if result["status"] != "ok"] == []
    assert len(results) == CASES
