"""The `dropzero` command."""

import os
import signal
import sys
from typing import Annotated

import typer

from api import terminal
from api.client.graphql import Refused, RequestFailed
from api.cluster.cli import cluster_app
from api.cluster.errors import ClusterError
from api.commands.cost import cost_command
from api.commands.doctor import doctor_command
from api.commands.load import load_command, race_command
from api.commands.orders import orders_app
from api.commands.products import product_app
from api.commands.reports import audit_document
from api.commands.running import AsJson, command_settings, fail, hint, with_database
from api.database.errors import DatabaseError, EmbeddedUnavailable
from api.database.migrations import Migration, MigrationError, load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.database.pooler import StatementsLost
from api.drops.audit import audit
from api.drops.rights import RightsMissing
from api.operator_token import TokenNotKept
from api.process import CannotServe, configure_logging, require_files
from api.running_database import database_to_serve
from api.settings import InvalidSettings, logs_json
from api.signals import BrokenOff
from api.startup import SchemaBehind

app = typer.Typer(
    help="Run a DROPZERO server, which sells limited drops exactly; manage its products and test it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # An option that names no variable of its own reads DROPZERO_COMMAND_OPTION.
    context_settings={"auto_envvar_prefix": "DROPZERO"},
)
app.add_typer(product_app, name="product")
app.add_typer(orders_app, name="orders")
app.add_typer(cluster_app, name="cluster")

_FAILURES = (
    *(CannotServe, EmbeddedUnavailable, StatementsLost, SchemaBehind, RightsMissing, MigrationError),
    *(TokenNotKept, RequestFailed),
)
"""Errors that end a command with status 1 and with their own message as its one line."""

_LIMITS = "check the limits of processes, open files and memory (ulimit -u, -n, -v), free disk space, and permissions"
_NO_THREAD = "can't start new thread"
"""The message of Python's RuntimeError when the system refuses a thread. There is no exception class for it."""


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="DROPZERO_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="DROPZERO_PORT", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8000,
    workers: Annotated[int, typer.Option(envvar="DROPZERO_WORKERS", min=1, max=64, help="Server processes.")] = 1,
) -> None:
    """Serve the storefront and the GraphQL API, on an embedded PostgreSQL unless DROPZERO_ENDPOINTS is set."""
    configure_logging(json=logs_json(os.environ))
    settings = command_settings()
    require_files()

    # No other command needs the application and uvicorn: half of the time of all imports.
    from api import server
    from api.announcement import announce
    from api.app import new_tracing, require_documents

    require_documents(settings)  # before the worker processes start, so that an error is one line
    new_tracing(settings)  # likewise
    listening = server.bind(host, port)
    configured, settings = settings, server.reachable_as(host, settings)
    with database_to_serve(settings, workers) as ready:
        address = server.address(listening)
        server.run(
            ready,
            listening,
            workers,
            embedded=settings.embedded,
            announce=lambda: announce(address, configured, ready),
        )


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date. It is safe to run this again, and from several machines at once."""

    async def apply(pool: Pool) -> list[Migration]:
        return await migrate(pool, load_migrations(migrations_directory()), terminal.write)

    applied = with_database(apply)
    terminal.write("The schema is up to date." if applied else "The schema was up to date already.")


@app.command()
def schema() -> None:
    """Print the schema of the API in GraphQL's schema definition language."""
    from api.graphql.schema import sdl  # with Strawberry, which no command that calls a server needs

    sys.stdout.write(sdl())


@app.command("audit")
def audit_command(as_json: AsJson = False) -> None:
    """Check in the database that every unit that was put in is in stock, held or sold, and that the holdings of buyers
    are those of their orders. Exit status 1 if not."""
    lines = with_database(audit)
    if as_json:
        terminal.write_json(audit_document(lines))
    else:
        terminal.show_list(terminal.audit_table(lines))
    objections = [f"{line.product_id}: {line.objection}" for line in lines if not line.balanced]
    if objections:
        fail(f"the books do not balance; {'; '.join(objections)}", status=1)
    if not as_json:
        terminal.write(f"{len(lines)} products: every unit is in stock, held or sold.")


app.command("cost")(cost_command)
app.command("doctor")(doctor_command)
app.command("load")(load_command)
app.command("race")(race_command)


def main() -> None:
    """Run the command. An error with a known reason ends it with one line and without a stack trace."""
    try:
        if logs_json(os.environ):
            configure_logging(json=True)
        app()
    except BrokenOff:
        os._exit(128 + signal.SIGINT)  # see BrokenOff
    except InvalidSettings as error:
        fail(str(error), status=2)
    except Refused as error:
        fail(f"{error}{hint(error)}", status=1)
    except ClusterError as error:
        fail(str(error), status=error.status)
    except _FAILURES as error:
        fail(str(error), status=1)
    except DatabaseError as error:
        fail(f"the database cannot be used: {error}; check DROPZERO_ENDPOINTS and that it runs", status=1)
    except OSError as error:
        fail(_system_error(error), status=1)
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        fail(f"{error}; {_LIMITS}", status=1)


def _system_error(error: OSError) -> str:
    """The line for an error of the operating system that no part of the program explains in words of its own."""
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}; {_LIMITS}"


if __name__ == "__main__":
    main()
