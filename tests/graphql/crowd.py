"""A server that is so crowded that every request waits too long at its gate."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from api.app import create_app
from api.identity.admission import Admission
from api.settings import Settings
from tests.server import Server, serving


@asynccontextmanager
async def crowded(settings: Settings) -> AsyncIterator[Server]:
    """A server whose gate lets no request begin in time."""

    def wait_too_long(_: str, begin: Callable[[bool], None]) -> None:
        asyncio.get_running_loop().call_soon(begin, False)

    def make_app(admission: Admission) -> ASGIApp:
        admission.gate.enter = wait_too_long  # type: ignore[method-assign,assignment]
        return create_app(settings, admission)

    async with serving(settings, make_app=make_app) as server:
        yield server
