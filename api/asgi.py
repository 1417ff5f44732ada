"""The entry for a platform that runs a server of its own and loads an ASGI application, `api.asgi:app`; such as Vercel.

The other entry is the `dropzero` command: `dropzero serve` also bounds heads and messages, prepares the database, and
logs more.
"""

import logging
import os

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.app import create_admission, create_app
from api.hosts import UNNAMED
from api.process import configure_logging
from api.settings import InvalidSettings, logs_json, read_settings


class NoSniffing:
    """Adds `X-Content-Type-Options: nosniff` to every answer, as `dropzero serve` has uvicorn do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-content-type-options"] = "nosniff"
            await send(message)

        await self._app(scope, receive, send_with_header if scope["type"] == "http" else send)


def _app() -> NoSniffing:
    """Make the application from the variables of the environment. Raises InvalidSettings."""
    configure_logging(json=logs_json(os.environ))
    settings = read_settings(os.environ)
    if settings.embedded:
        raise InvalidSettings("DROPZERO_ENDPOINTS: set it; the embedded PostgreSQL comes with `dropzero serve` alone")
    if not settings.hosts:
        logging.getLogger("dropzero.server").warning(UNNAMED)
    return NoSniffing(create_app(settings, create_admission(settings)))


app = _app()
