"""A real PgBouncer before the test's PostgreSQL, in the pool mode that a test sets.

Without PgBouncer these tests are skipped with the reason; with CI=true they fail instead.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from tests.command import started
from tests.patience import until
from tests.programs import SERVER_PATH, find_server

_PORT = 6432


def version_of_pgbouncer() -> tuple[int, int]:
    """The major and the minor version; (0, 0) if it is not installed."""
    program = shutil.which("pgbouncer", path=SERVER_PATH)
    if program is None:
        return 0, 0
    output = subprocess.run([program, "--version"], capture_output=True, check=True, text=True).stdout
    major, minor, *_ = output.split()[1].split(".")
    return int(major), int(minor)


@contextlib.asynccontextmanager
async def pooling(postgres_url: str, **settings: object) -> AsyncIterator[str]:
    """The URL of the database behind a PgBouncer that runs until the block ends; `settings` are PgBouncer's."""
    program = find_server("pgbouncer")
    parts = urlsplit(postgres_url)
    sockets, database = Path(parse_qs(parts.query)["host"][0]), parts.path.lstrip("/")
    owner = (sockets / ".s.PGSQL.5432").stat()  # no other user may connect; and PgBouncer does not run as root
    switch = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    # The owner cannot enter the folders above, so PgBouncer starts in the folder of the socket.
    host = "/proc/self/cwd" if switch else sockets
    with tempfile.TemporaryDirectory(prefix="pooler-") as name:
        folder = Path(name)
        own = {"listen_port": _PORT, "unix_socket_dir": folder, "auth_type": "any", **settings}
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={host} port=5432 dbname={database} user=postgres\n"
            + "[pgbouncer]\n"
            + "".join(f"{setting} = {value}\n" for setting, value in own.items())
        )
        if switch:
            os.chown(folder, owner.st_uid, owner.st_gid)
        log = folder / "pgbouncer.log"
        options = {"stdout": subprocess.DEVNULL, "cwd": sockets, **switch}
        with log.open("wb") as output:
            async with started(program, folder / "pgbouncer.ini", stderr=output, **options) as process:
                there = folder / f".s.PGSQL.{_PORT}"
                await until(lambda: _accepts(there) or process.returncode is not None)
                assert process.returncode is None, log.read_text()
                yield f"postgresql://postgres@/{database}?host={quote(str(folder))}&port={_PORT}"


def _accepts(path: Path) -> bool:
    """Whether a process listens at a Unix socket. The file exists a moment earlier."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
