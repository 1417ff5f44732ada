"""The database that a command uses: the configured endpoints, or the embedded PostgreSQL, started if necessary."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

from api.database.embedded import embedded_postgres, running_embedded_url
from api.guest_key import keep_guest_key
from api.operator_token import make_operator_token
from api.settings import EMBEDDED_REGIONS, Settings
from api.signals import release_signals, unwind_on_signals


@contextmanager
def database_to_serve(settings: Settings, workers: int) -> Iterator[Settings]:
    """Yield settings with endpoints, for the server. The embedded database runs until the block is left.

    Raises EmbeddedUnavailable, TokenNotKept, and KeyboardInterrupt on a signal that came while the database stopped.
    """
    unwind_on_signals()
    if settings.embedded:
        with _embedded(settings, workers) as url:
            directory = settings.data_directory
            ready = settings.with_embedded(url, settings.admin_token or make_operator_token(directory))
            yield replace(ready, guest_keys=settings.guest_keys or (keep_guest_key(directory),))
    else:
        yield settings
    release_signals()


@contextmanager
def database_to_visit(settings: Settings) -> Iterator[Settings]:
    """Yield settings with endpoints, for a command beside the server: those configured, or the embedded database that
    a server is running. If no server runs, the embedded database is started until the block is left.

    Raises EmbeddedUnavailable.
    """
    if not settings.embedded:
        yield settings
        return
    running = running_embedded_url(settings.data_directory)
    with nullcontext(running) if running is not None else _embedded(settings, workers=1) as url:
        yield settings.with_embedded(url, settings.admin_token)


def _embedded(settings: Settings, workers: int) -> AbstractContextManager[str]:
    """The embedded database, with room for the connections of each Region and worker, and for other commands."""
    room = max(100, len(EMBEDDED_REGIONS) * workers * settings.connections + 20)
    return embedded_postgres(settings.data_directory, settings.commit_delay_ms, room)
