"""npm's packages and Node.js, for tests of the server with clients and tools that others have written.

Without Node.js or npm these tests are skipped, with the reason. With CI=true they fail instead.
"""

import asyncio
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests.patience import PATIENCE
from tests.programs import cannot_run

Actions = Mapping[str, Callable[[], Awaitable[None]]]
NO_ACTIONS: Actions = MappingProxyType({})

QUIETLY = ("--prefer-offline", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")


class Node:
    """Runs the scripts of a directory beside the packages that they import."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, script: str, code: str) -> str:
        """Write a script with that name and code beside the others. Returns the name, for `run`."""
        (self.directory / script).write_text(code)
        return script

    async def run(self, script: str, *arguments: str, actions: Actions = NO_ACTIONS) -> list[dict[str, Any]]:
        """Run the script, which has to succeed, and has PATIENCE for each line. Returns what it prints, one object a
        line.

        A line `{"perform": NAME}` is not a result. The action of that name is performed, and an empty line is sent
        back when it is done.
        """
        process = await asyncio.create_subprocess_exec(
            "node",
            script,
            *arguments,
            cwd=self.directory,
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
            async with asyncio.timeout(PATIENCE) as timeout:
                async for line in process.stdout:
                    timeout.reschedule(asyncio.get_running_loop().time() + PATIENCE)
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

    async def command(self, *command: str) -> None:
        """Run a command of a package, such as `node_modules/.bin/tsc`, which has to succeed."""
        await _succeed(self.directory, *command)


async def install(directory: Path, packages: tuple[str, ...], *scripts: Path) -> Node:
    """Copy the scripts, files or folders with all that is in them, into that directory, beside the packages."""
    for script in scripts:
        if script.is_dir():
            shutil.copytree(script, directory, dirs_exist_ok=True)
        else:
            shutil.copy(script, directory)
    (directory / "node_modules").symlink_to(await _kept(packages), target_is_directory=True)
    return Node(directory)


async def _kept(packages: tuple[str, ...]) -> Path:
    """Return the folder of the packages and of all that they import. It is kept from run to run."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        cannot_run("this runs on Node.js: install node and npm")
    folder = kept_packages()
    named = folder / hashlib.sha256("\n".join(packages).encode()).hexdigest()[:16]
    if not named.exists():
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            partial = Path(temporary) / "partial"
            partial.mkdir()
            await _succeed(partial, npm, "install", *QUIETLY, *packages)
            try:
                partial.replace(named)
            except OSError:
                assert named.exists()  # another process of this run was faster
    return named / "node_modules"  # a package finds those that it imports only in a folder of this name


def kept_packages() -> Path:
    """The folder outside the repository in which npm's packages are kept from run to run."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dropzero" / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def _succeed(directory: Path, *command: str) -> None:
    running = await asyncio.create_subprocess_exec(
        *command, cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(PATIENCE):
            printed, _ = await running.communicate()
    finally:
        if running.returncode is None:
            running.kill()
            await running.wait()
    assert running.returncode == 0, f"{command}: {printed.decode()}"
