"""A version of the code, with the database that its servers use."""

import subprocess
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.database.embedded import embedded_postgres
from bench.database import Database
from bench.servers import TOKEN, Process, checkout, own_environment

ROOT = Path(__file__).parent.parent
"""This checkout."""

CONNECTIONS = 300
"""Of a database. Eight processes have pools of ten, and connections for their monitors and the bench."""


def code_folder(text: str) -> Path:
    """The folder with a server's code that an argument of a bench names. Raises ArgumentTypeError."""
    folder = Path(text).resolve()
    if not (folder / "api").is_dir():
        raise ArgumentTypeError(f"{text} has no folder named api")
    return folder


@dataclass(frozen=True)
class Version:
    """The server's code, its database, and a folder for the files that servers write."""

    code: Path
    database: Database
    folder: Path

    def environment(self) -> dict[str, str]:
        """The settings of production, but the server stops at once. The code ignores unknown variables."""
        return {
            "DROPZERO_ENDPOINTS": f"us-east-1={self.database.url}",
            TOKEN: "bench-0123456789abcdef",
            "DROPZERO_DRAIN_S": "0",
            "DROPZERO_HOSTS": "127.0.0.1",
        }

    def server(
        self, *entry: str, log: str = "server.log", arguments: Sequence[str] = (), **environment: str
    ) -> AbstractContextManager[Process]:
        """A server, started as `python ENTRY serve ARGUMENTS`, with further variables."""
        return checkout(self.code, entry, self.folder / log, arguments, **self.environment(), **environment)

    @contextmanager
    def servers(self, count: int) -> Iterator[list[Process]]:
        """Yield this many server processes on the one database. They start at the same time."""
        with ExitStack() as stack, ThreadPoolExecutor(count) as pool:
            starting = [self.server("-m", "api", log=f"server-{number}.log") for number in range(count)]
            yield list(pool.map(stack.enter_context, starting))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the same code as the server."""
        variables = {**own_environment(), "PYTHONPATH": str(self.code), **self.environment()}
        command = [sys.executable, "-P", "-m", "api", *arguments]
        return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    def migrate(self) -> None:
        """Create the tables. Ends the bench if that fails."""
        migrated = self.command("migrate")
        if migrated.returncode:
            raise SystemExit(f"the database cannot be prepared: {migrated.stderr}")

    def audit(self) -> str:
        """What `dropzero audit` objects to; empty when every unit is in stock or sold."""
        finished = self.command("audit")
        return "" if finished.returncode == 0 else f"audit: {(finished.stderr or finished.stdout).strip()[-300:]}"


@contextmanager
def prepared(code: Path, folder: Path) -> Iterator[Version]:
    """Yield the code of a checkout on an embedded PostgreSQL of its own, with the tables of that code."""
    folder.mkdir()
    measured = Version(code, Database(folder / "data"), folder)
    with embedded_postgres(measured.database.data, max_connections=CONNECTIONS):
        measured.migrate()
        yield measured
