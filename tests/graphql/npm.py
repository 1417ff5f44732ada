"""npm's packages and Node.js, for tests of the server with clients and auditors that others have written.

Without Node.js or npm these tests are skipped, with the reason. With CI=true they fail instead.
"""

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.programs import cannot_run

PACKAGES = ("graphql@16.15.0", "graphql-http@1.23.1", "graphql-sse@2.6.1", "graphql-ws@6.4.2", "ws@8.23.0")
"""graphql-ws uses `ws`: Node.js has a WebSocket of its own only from version 22 on."""

Actions = Mapping[str, Callable[[], Awaitable[None]]]
NO_ACTIONS: Actions = MappingProxyType({})


class Node:
    """Runs the scripts of this directory beside the packages that they import."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write(self, script: str, code: str) -> str:
        """Write a script with that name and code beside the others. Returns the name, for `run`."""
        (self._directory / script).write_text(code)
        return script

    async def run(self, script: str, *arguments: str, actions: Actions = NO_ACTIONS) -> list[dict[str, Any]]:
        """Run the script, which has to succeed. Returns what it prints, one object a line.

        A line `{"perform": NAME}` is not a result. The action of that name is performed, and an empty line is sent
        back when it is done.
        """
        process = await asyncio.create_subprocess_exec(
            "node",
            script,
            *arguments,
            cwd=self._directory,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        complaints = asyncio.create_task(process.stderr.read())
        results = []
        try:
            async with asyncio.timeout(PATIENCE):
                async for line in process.stdout:
                    printed = json.loads(line)
                    if "perform" in printed:
                        await actions[printed["perform"]]()
                        process.stdin.write(b"\n")
                    else:
                        results.append(printed)
                await process.wait()
        except TimeoutError:
            pytest.fail(f"{script} did not end; it printed {results}")
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
            errors = (await complaints).decode()
        assert process.returncode == 0, f"{script}: {errors}"
        return results


async def install(directory: Path) -> Node:
    """Install the packages and copy the scripts into that directory, which is empty."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        cannot_run("this runs on Node.js: install node and npm")
    quietly = ("--prefer-offline", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
    installing = await asyncio.create_subprocess_exec(
        npm,
        "install",
        *quietly,
        *PACKAGES,
        cwd=directory,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            _, complaints = await installing.communicate()
    finally:
        if installing.returncode is None:
            installing.kill()
            await installing.wait()
    assert installing.returncode == 0, f"npm install: {complaints.decode()}"
    for script in Path(__file__).parent.glob("*.mjs"):
        shutil.copy(script, directory)
    return Node(directory)
