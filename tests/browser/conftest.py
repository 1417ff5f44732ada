"""A real browser and a real server. The tests of a module share the server, and each test finds it empty.

Nothing leaves this machine: what unpkg.com would serve comes from npm packages. Where there is no chromium or no npm
these tests are skipped with the reason; where CI=true they fail instead.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from playwright.async_api import Browser, async_playwright, expect

from api.database.endpoint import Endpoint
from api.drops.stock import PollingTimes
from api.settings import Settings, read_settings
from tests.browser.visits import CHROMIUM_FLAGS, PATIENCE, Tabs, Visits, find_chromium, visiting
from tests.databases import Databases
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES
from tests.programs import cannot_run
from tests.regions import HOME, PEER
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server, serving

PACKAGES = ("react@18.2.0", "react-dom@18.2.0", "graphiql@3.8.3", "axe-core@4.14.1")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    chromium = find_chromium()
    expect.set_options(timeout=PATIENCE)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=CHROMIUM_FLAGS, timeout=PATIENCE)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def packages() -> Path:
    """A folder with the npm packages of GraphiQL and axe, kept from run to run."""
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


@pytest.fixture(scope="session")
def tabs(browser: Browser, packages: Path) -> Tabs:
    """The pages of the browser."""
    return Tabs(browser, packages)


@pytest.fixture(scope="module")
async def postgres_url(databases: Databases) -> AsyncIterator[str]:
    """The URL of a database of this module's own, with the schema and no rows."""
    name = await databases.take()
    yield databases.at(name)
    await databases.give_back(name)


@pytest.fixture(scope="module")
def settings(postgres_url: str) -> Settings:
    """A laptop's settings, on the module's database under the names of two Regions."""
    return replace(
        read_settings({}),
        endpoints=tuple(Endpoint(region, postgres_url) for region in (HOME, PEER)),
        admin_token=ADMIN_TOKEN,
        guest_keys=(GUEST_KEY,),
        budget=PATIENT_BUDGET,
        polling=PollingTimes(interval=0.05),
        region_times=PATIENT_TIMES,
    )


@pytest.fixture(scope="module")
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server on the module's database."""
    async with serving(settings) as server:
        yield server


@pytest.fixture(autouse=True)
async def no_rows(postgres_url: str) -> AsyncIterator[None]:
    """Delete all rows after each test of the module."""
    yield
    connection = await asyncpg.connect(postgres_url)
    try:
        for table in ("orders", "stock_shards", "products", "drops", "operator_log", "activity"):
            await connection.execute(f"DELETE FROM {table}")
    finally:
        await connection.close()


@pytest.fixture
async def visits(tabs: Tabs, server: Server) -> AsyncIterator[Visits]:
    """Visits to the module's server. Fails at the end if any of them had an error."""
    async with visiting(tabs, server) as visits:
        yield visits
