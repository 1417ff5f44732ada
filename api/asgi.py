"""The application for a platform that runs a server of its own and asks for an ASGI application, such as Vercel.

Everything else is served by `dropzero serve`, which bounds heads and messages, prepares the database, and says more.
"""

import os

from starlette.applications import Starlette

from api.app import create_admission, create_app
from api.server import configure_logging
from api.settings import InvalidSettings, read_settings


def _app() -> Starlette:
    """Raises InvalidSettings."""
    configure_logging()
    settings = read_settings(os.environ)
    if settings.embedded:
        raise InvalidSettings("DROPZERO_ENDPOINTS: set it; the embedded PostgreSQL comes with `dropzero serve` alone")
    return create_app(settings, create_admission(settings))


app = _app()
