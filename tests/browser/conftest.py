"""A real browser before a real server. Nothing leaves this machine: what unpkg.com would serve comes from npm packages.

Where there is no chromium or no npm these tests are skipped with the reason; where CI=true they fail instead.
"""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from tests.server import Server

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PATIENCE = 15_000
"""Milliseconds after which a test that waits for the page has failed."""

PACKAGES = ("react@18.2.0", "react-dom@18.2.0", "graphiql@3.8.3", "axe-core@4.14.1")
UNPKG = re.compile(r"https://unpkg\.com/([a-z-]+)@([\d.]+)/(.+)")
TYPES = {".js": "text/javascript", ".css": "text/css"}


def cannot_run(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything is meant to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        cannot_run("there is no chromium; on Debian: apt-get install chromium")
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def packages() -> Path:
    """A folder with the packages of GraphiQL and axe as npm has them, kept from run to run."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dropzero" / "npm"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [package for package in PACKAGES if not (folder / f"{package.replace('@', '-')}.tgz").exists()]
    if missing:
        npm = shutil.which("npm")
        if npm is None:
            cannot_run("there is no npm to fetch GraphiQL and axe with")
        with tempfile.TemporaryDirectory(dir=folder) as partial:
            fetched = subprocess.run([npm, "pack", "--silent", *missing], cwd=partial, capture_output=True, text=True)
            if fetched.returncode:
                cannot_run(f"npm could not fetch GraphiQL and axe: {fetched.stderr.strip()[-300:]}")
            for archive in Path(partial).iterdir():
                archive.replace(folder / archive.name)
    return folder


@cache
def packaged(archive: Path, path: str) -> bytes:
    """A file of an npm package."""
    with tarfile.open(archive) as package:
        file = package.extractfile(f"package/{path}")
        assert file is not None
        return file.read()


class Visit:
    """One page of a browser, what went wrong on it, and which other hosts it tried to reach."""

    def __init__(self, page: Page, server: Server, packages: Path) -> None:
        self.page = page
        self.problems: list[str] = []
        self.strangers: list[str] = []
        self._server = server
        self.packages = packages
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda said: self.problems.append(said.text) if said.type == "error" else None)

    async def answer(self, route: Route) -> None:
        """Let requests to the server through, answer for unpkg.com, and refuse all others."""
        url = route.request.url
        if url.startswith(f"{self._server.url}/"):
            await route.continue_()
        elif match := UNPKG.fullmatch(url):
            name, version, path = match.groups()
            headers = {"access-control-allow-origin": "*", "content-type": TYPES[Path(path).suffix]}
            await route.fulfill(body=packaged(self.packages / f"{name}-{version}.tgz", path), headers=headers)
        else:
            self.strangers.append(url)
            await route.abort()


class Visits:
    """The pages that a test opens."""

    def __init__(self, browser: Browser, server: Server, packages: Path) -> None:
        self._browser = browser
        self._server = server
        self.packages = packages
        self.made: list[Visit] = []

    async def open(
        self,
        path: str,
        *,
        dark: bool = False,
        locale: str = "en-US",
        width: int = 1280,
        still: bool = False,
        beside: Visit | None = None,
    ) -> Visit:
        """Open a page of the server, in a fresh profile or `beside` another visit as its second tab.

        `width` in CSS pixels; `still` for who prefers reduced motion.
        """
        if beside is not None:
            context = beside.page.context
        else:
            context = await self._browser.new_context(
                color_scheme="dark" if dark else "light",
                locale=locale,
                viewport={"width": width, "height": 800},
                reduced_motion="reduce" if still else "no-preference",
            )
            context.set_default_timeout(PATIENCE)
        visit = Visit(await context.new_page(), self._server, self.packages)
        self.made.append(visit)
        await visit.page.route("**/*", visit.answer)
        await visit.page.goto(f"{self._server.url}{path}")
        return visit


@pytest.fixture
async def visits(browser: Browser, server: Server, packages: Path) -> AsyncIterator[Visits]:
    """Visits to the test's server; at the end nothing may have gone wrong on any of them."""
    async with visiting(browser, server, packages) as visits:
        yield visits


@asynccontextmanager
async def visiting(browser: Browser, server: Server, packages: Path) -> AsyncIterator[Visits]:
    """Visits to a server that need not be up all the time."""
    visits = Visits(browser, server, packages)
    try:
        yield visits
    finally:
        for visit in visits.made:
            await visit.page.context.close()
    assert [visit.problems + visit.strangers for visit in visits.made if visit.problems or visit.strangers] == []
