"""What the commands share: the settings, a client of a running server, a connection to the database, and their end."""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import datetime
from typing import Annotated, NoReturn, TypeVar

import typer

from api import terminal
from api.client.graphql import GraphQLClient, Refused, graphql_clients, is_in_the_clear, is_this_machine
from api.database.pool import Pool
from api.database.pooler import require_kept_statements
from api.database.tokens import AuthTokens
from api.operator_token import find_operator_token
from api.process import has_json_log
from api.running_database import database_to_visit
from api.settings import Settings, read_settings
from api.startup import web_identity

logger = logging.getLogger("dropzero.command")

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option(envvar="DROPZERO_URL", help="The server's address.")]
Patience = Annotated[
    float, typer.Option(min=0, help="Seconds without an answer from the server after which the command stops.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line, with the names of the API.")]
Limit = Annotated[int, typer.Option(min=1, help="List this many at most, the newest.")]

Urls = Annotated[list[str], typer.Option("--url", envvar="DROPZERO_URL", help="A server's address; may be repeated.")]


def moment(text: str) -> datetime:
    """Return the moment that an option names in ISO 8601. Raises BadParameter if it has no UTC offset."""
    with suppress(ValueError):
        named = datetime.fromisoformat(text)
        if named.tzinfo is not None:
            return named
    raise typer.BadParameter(f"write a date, a time and a UTC offset, such as 2026-12-01T10:00+01:00, not {text!r}")


def fail(message: str, status: int) -> NoReturn:
    """Print one line to standard error, or log it where the log is JSON, and end the process with the status."""
    if has_json_log():
        logger.critical(message)
    else:
        terminal.write_error(f"dropzero: {message}")
    raise SystemExit(status)


def command_settings() -> Settings:
    """The settings of this process. Raises InvalidSettings."""
    return read_settings(os.environ)


def hint(error: Refused) -> str:
    """What to do about an operation that the server refused; empty if nothing can be done."""
    if error.code != "UNAUTHENTICATED":
        return ""
    if is_this_machine(error.url):
        return "; set DROPZERO_ADMIN_TOKEN to the server's token, or DROPZERO_DATA to its data folder"
    return "; set DROPZERO_ADMIN_TOKEN to that server's token: the token of a data folder is sent to this machine alone"


def operator_clients(urls: list[str], connections: int) -> AbstractAsyncContextManager[list[GraphQLClient]]:
    """Clients that send the operator's token: DROPZERO_ADMIN_TOKEN to every server that is named, the data folder's
    token only to servers on this machine."""
    settings = command_settings()
    exposed = [url for url in urls if is_in_the_clear(url)]
    if settings.admin_token is not None and exposed:
        terminal.write_error(
            f"dropzero: warning: DROPZERO_ADMIN_TOKEN is sent unencrypted to {', '.join(exposed)}, "
            "and everybody on the way can read it; use https://"
        )
    return graphql_clients(urls, settings.admin_token, connections, find_operator_token(settings.data_directory))


def with_server(url: str, call: Callable[[GraphQLClient], Awaitable[T]]) -> T:
    """Run a coroutine with a client of a running server, and return its result."""

    async def run() -> T:
        async with operator_clients([url], connections=1) as [client]:
            return await call(client)

    return asyncio.run(run())


def with_database(call: Callable[[Pool], Awaitable[T]]) -> T:
    """Run a coroutine with a connection to the database itself, and return its result."""

    async def run(settings: Settings) -> T:
        async with Pool(settings.endpoints[0], size=1, tokens=AuthTokens(web_identity(settings))) as pool:
            await require_kept_statements(pool.endpoint)
            return await call(pool)

    with database_to_visit(command_settings()) as settings:
        return asyncio.run(run(settings))
