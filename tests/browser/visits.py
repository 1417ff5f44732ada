"""Visits to the pages of a server. The browser's pages are used again by later tests.

A new page needs a process of its own, and takes three times as long as another address on an old page.
"""

import re
import shutil
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypedDict, Unpack

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Request, Route

from tests import patience
from tests.programs import cannot_run
from tests.server import Server

CHROMIUM = ("chromium-headless-shell", "chromium")
"""Debian's packages of the browser; the first that is installed is used. The shell has the same engine and no windows,
and takes half of the CPU time."""

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    # Nothing leaves this machine: requests to other hosts go to a proxy that does not exist.
    "--proxy-server=http://127.0.0.1:9",
]
PATIENCE = patience.PATIENCE * 1000
"""Milliseconds after which a test that waits for the page fails."""

UNPKG = re.compile(r"https://unpkg\.com/([a-z-]+)@([\d.]+)/(.+)")
TYPES = {".js": "text/javascript", ".css": "text/css"}


def find_chromium() -> str:
    """The path of the browser. Skips or fails the test without it."""
    found = next(filter(None, map(shutil.which, CHROMIUM)), None)
    return found or cannot_run(f"there is no {CHROMIUM[0]}; on Debian: apt-get install {CHROMIUM[0]}")


@cache
def packaged(archive: Path, path: str) -> bytes:
    """Return the content of a file in an npm package."""
    with tarfile.open(archive) as package:
        file = package.extractfile(f"package/{path}")
        assert file is not None
        return file.read()


class Look(TypedDict, total=False):
    """The settings of the browser that visits a page.

    `language` is the one that the browser accepts. `width` is in CSS pixels. `still`: its reader prefers no motion.
    """

    dark: bool
    language: str
    width: int
    still: bool


@dataclass
class Tabs:
    """A browser's pages, each in a profile of its own. A page that is used again keeps nothing of its last test."""

    browser: Browser
    packages: Path
    _idle: list[Page] = field(default_factory=list)

    async def take(self) -> Page:
        return self._idle.pop() if self._idle else await self.new()

    async def new(self) -> Page:
        context = await self.browser.new_context()
        context.set_default_timeout(PATIENCE)
        return await context.new_page()

    async def give_back(self, page: Page, server: Server) -> None:
        """Clear the page and keep it for the next test, or close it if that fails."""
        try:
            for other in page.context.pages:
                if other is not page:
                    await other.close()
            await page.unroute_all(behavior="ignoreErrors")
            await page.goto(f"{server.url}/healthz")
            await page.evaluate("() => { localStorage.clear(); sessionStorage.clear(); }")
            await page.context.clear_cookies()
        except Error:
            await page.context.close()
        else:
            self._idle.append(page)


class Visit:
    """A browser's page on a server. Records what the page requested, what of it from other hosts, and its errors."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page = page
        self.problems: list[str] = []
        self.foreign: list[str] = []
        self.requested: list[str] = []
        self._server = server
        page.on("pageerror", self._on_error)
        page.on("console", self._on_console)
        page.on("request", self._on_request)

    async def goto(self, path: str) -> None:
        await self.page.goto(f"{self._server.url}{path}")

    def end(self) -> None:
        """Record nothing more of the page."""
        self.page.remove_listener("pageerror", self._on_error)
        self.page.remove_listener("console", self._on_console)
        self.page.remove_listener("request", self._on_request)

    def _on_error(self, error: Error) -> None:
        self.problems.append(str(error))

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    def _on_request(self, request: Request) -> None:
        self.requested.append(request.url)
        if not request.url.startswith((f"{self._server.url}/", "data:", "blob:")) and not UNPKG.fullmatch(request.url):
            self.foreign.append(request.url)


class Visits:
    """The visits of a test."""

    def __init__(self, tabs: Tabs, server: Server) -> None:
        self._tabs = tabs
        self._server = server
        self._own: list[BrowserContext] = []
        self.made: list[Visit] = []

    async def open(self, path: str, *, beside: Visit | None = None, **look: Unpack[Look]) -> Visit:
        """Open a page of the server, in a fresh profile or `beside` another visit as its second tab."""
        if beside is None:
            visit = await self.blank(**look)
        else:
            visit = self._visit(await beside.page.context.new_page())
        await visit.goto(path)
        return visit

    async def blank(self, *, alone: bool = False, **look: Unpack[Look]) -> Visit:
        """Return a page that is still empty, in a fresh profile.

        `alone` is for a test that changes the page for good, as with a clock: no other test gets the page.
        """
        page = await (self._tabs.new() if alone else self._tabs.take())
        if alone:
            self._own.append(page.context)
        await page.set_extra_http_headers({"accept-language": look.get("language", "en")})
        await page.set_viewport_size({"width": look.get("width", 1280), "height": 800})
        await page.emulate_media(
            color_scheme="dark" if look.get("dark") else "light",
            reduced_motion="reduce" if look.get("still") else "no-preference",
            forced_colors="none",
        )
        return self._visit(page)

    async def serve_packages(self, visit: Visit) -> None:
        """Answer requests to unpkg.com from the npm packages."""

        async def answer(route: Route) -> None:
            match = UNPKG.fullmatch(route.request.url)
            assert match is not None
            name, version, path = match.groups()
            headers = {"access-control-allow-origin": "*", "content-type": TYPES[Path(path).suffix]}
            body = packaged(self._tabs.packages / f"{name}-{version}.tgz", path)
            await route.fulfill(body=body, headers=headers)

        await visit.page.route(UNPKG, answer)

    async def end(self) -> None:
        """Give the pages back, and close those that were `alone`."""
        for visit in self.made:
            visit.end()
        for context in {visit.page.context: None for visit in self.made}:
            if context in self._own:
                await context.close()
            else:
                await self._tabs.give_back(context.pages[0], self._server)

    def _visit(self, page: Page) -> Visit:
        visit = Visit(page, self._server)
        self.made.append(visit)
        return visit


@asynccontextmanager
async def visiting(tabs: Tabs, server: Server) -> AsyncIterator[Visits]:
    """Yield visits to a server. Fails at the end if any of them had an error or sent a request to another host."""
    visits = Visits(tabs, server)
    try:
        yield visits
    finally:
        await visits.end()
    assert [visit.problems + visit.foreign for visit in visits.made if visit.problems or visit.foreign] == []
