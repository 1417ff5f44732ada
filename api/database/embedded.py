"""The embedded PostgreSQL: a real server in a folder, started and stopped by the process that serves.

One process owns it, by a lock on the folder; other processes on the same machine only connect. An interrupted start
or stop leaves no half-made database, and no folder that the next start cannot use.
"""

import logging
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

from api.database.account import reachable_temporary
from api.database.errors import EmbeddedUnavailable
from api.database.postgres_programs import INSIDE, Process, Programs, signals_held, signals_waiting

logger = logging.getLogger("dropzero.database")

POSTGRES_VERSION = 16
"""The major version that Aurora DSQL is compatible with."""

START_TIMEOUT = 60.0
"""Seconds for a start. After a crash, PostgreSQL replays its log of committed transactions within them."""

STOP_TIMEOUT = 30.0
"""Seconds for a clean stop. A server that needs longer is stopped at once, and recovers at its next start."""

# The server listens on a Unix socket only. The port is a part of the file's name. The limit keeps the path within the
# lengths of macOS (104 bytes) and Linux (108).
_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
_SOCKET_PATH_LIMIT = 100
_PLAIN_PATH = re.compile(r"[\w./@ +-]+")

_FOLDER = "--dropzero.folder"
"""An option without effect. It names the data folder on the server's command line, since INSIDE does not."""

MAX_LOG = 10_000_000
"""Bytes. A start renames a log of the server that is larger, and begins a new one. One old log is kept."""


@contextmanager
def embedded_postgres(directory: Path, commit_delay_ms: int = 0, max_connections: int = 100) -> Iterator[str]:
    """Own the server in `directory`: start it, yield its URL, and stop it cleanly at the end.

    `commit_delay_ms` makes every COMMIT take that many milliseconds longer, so that a laptop can show what a
    database with a slow commit does. Raises EmbeddedUnavailable.
    """
    directory = directory.absolute()
    data = directory / "postgres"
    settings: dict[str, int | str] = {
        "max_connections": max_connections,
        "commit_delay": commit_delay_ms * 1000,
        "commit_siblings": 0,  # delays each commit even when no other transaction is open
        "log_min_messages": "log",  # keeps conflicts between buyers out of the log: they are normal
    }
    with _owned(directory):
        with _explained(directory):
            programs = Programs.find(data)
            _stop_leftover(data)
            for unfinished in directory.glob("initdb-*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            if not _is_initialised(data):
                _initialise(programs, data)
        with _socket_directory(programs, data) as sockets, _running(programs, data, sockets, settings):
            yield _url(sockets)


def running_embedded_url(directory: Path) -> str | None:
    """The URL of the server that another process owns in `directory`; None if no process owns one. A server whose owner
    was killed has no owner, even while it runs."""
    data = directory.absolute() / "postgres"
    try:
        postmaster = _Postmaster.read(data) if _is_owned(directory) else None
    except OSError:
        return None
    if postmaster is None or not postmaster.ready or not postmaster.is_alive(data):
        return None
    return _url(postmaster.sockets)


def _is_owned(directory: Path) -> bool:
    """Whether a process holds the lock on the folder. Raises OSError."""
    import fcntl  # not on Windows, where this module is imported but not used

    with open(directory / "owner.lock", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What a server writes to postmaster.pid. The file outlives a crash; then any process can have its pid."""

    pid: int
    sockets: Path
    ready: bool

    @classmethod
    def read(cls, data: Path) -> "_Postmaster | None":
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
            sockets = Path("".join(lines[4:5]))
            ready = "".join(lines[7:8]).strip() == "ready"
            return cls(int(lines[0]), data if sockets == INSIDE else sockets, ready)
        except (FileNotFoundError, IndexError, ValueError):
            return None

    def is_alive(self, data: Path) -> bool:
        """Whether the process with this pid is a server on this very folder, by its command line."""
        if sys.platform == "linux":
            try:
                command = Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ")
            except OSError:
                return False
        else:
            ps = ["ps", "-ww", "-o", "command=", "-p", str(self.pid)]
            command = subprocess.run(ps, capture_output=True, check=False).stdout  # noqa: S603
        program, _, arguments = command.partition(b" -D ")
        inside = f"{INSIDE} {_FOLDER}={data}"
        named = any(arguments.startswith(os.fsencode(name) + b" ") for name in (str(data), inside))
        return program.endswith(b"postgres") and named


@contextmanager
def _explained(directory: Path) -> Iterator[None]:
    """Raise OSError as EmbeddedUnavailable."""
    try:
        yield
    except OSError as error:
        where = error.filename or directory
        raise EmbeddedUnavailable(
            f"cannot use the data folder {directory}: {where}: {error.strerror}; choose another with DROPZERO_DATA"
        ) from None


@contextmanager
def _owned(directory: Path) -> Iterator[None]:
    """Hold the lock on the folder. The system releases it when this process ends, even if it is killed."""
    import fcntl  # not on Windows, where this module is imported but not used

    with _explained(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds the operator's token and the data
        lock = open(directory / "owner.lock", "a+", encoding="ascii")  # noqa: SIM115
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise EmbeddedUnavailable(
                f"{directory} is in use by another dropzero (process {lock.read().strip() or 'unknown'}); stop that "
                "one, or give this one a folder of its own with DROPZERO_DATA"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _stop_leftover(data: Path) -> None:
    """Stop the server of an owner that was killed, and remove its postmaster.pid, which would prevent a start."""
    leftover = _Postmaster.read(data)
    if leftover is not None and leftover.is_alive(data):
        os.kill(leftover.pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_TIMEOUT
        while (data / "postmaster.pid").exists():
            if time.monotonic() > deadline:
                raise EmbeddedUnavailable(
                    f"a PostgreSQL that an earlier dropzero left behind does not stop; end process {leftover.pid}"
                )
            time.sleep(0.01)
    # If the file still exists, the process that it names is not the server of this folder.
    (data / "postmaster.pid").unlink(missing_ok=True)


def _is_initialised(data: Path) -> bool:
    """Whether there is a database of our version. Raises EmbeddedUnavailable when the folder holds anything else."""
    if not data.exists():
        return False
    try:
        version = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise EmbeddedUnavailable(
            f"{data} holds no PostgreSQL database; move the folder away, or choose another with DROPZERO_DATA"
        ) from None
    if version != str(POSTGRES_VERSION):
        raise EmbeddedUnavailable(
            f"{data} was made by PostgreSQL {version}, and this is PostgreSQL {POSTGRES_VERSION}; "
            "move the folder away, or choose another with DROPZERO_DATA"
        )
    return True


def _initialise(programs: Programs, data: Path) -> None:
    """Make a database in a folder beside `data`, and rename it to `data` once it is whole."""
    fresh = Path(tempfile.mkdtemp(prefix="initdb-", dir=data.parent))
    try:
        programs.give_to_user(fresh)
        # Aurora DSQL sorts by the C locale, and every machine has it.
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-instructions"]
        with programs.run("initdb", fresh, *options, output=subprocess.PIPE, end=_kill) as initdb:
            output, _ = initdb.communicate()
        if initdb.returncode != 0:
            raise EmbeddedUnavailable(f"no database can be made in {data.parent}: {_reason(output)}")
        fresh.rename(data)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def _socket_directory(programs: Programs, data: Path) -> Iterator[Path]:
    """The folder of the socket: the data folder, or a temporary one if the path of the data folder is too long or has
    characters with a meaning of their own in a URL or a setting."""
    if len(os.fsencode(data / _SOCKET)) <= _SOCKET_PATH_LIMIT and _PLAIN_PATH.fullmatch(str(data)):
        yield data
        return
    with _explained(data.parent):
        parent = None if programs.account is None else reachable_temporary(programs.account)
        temporary_directory = tempfile.TemporaryDirectory(prefix="dropzero-", dir=parent)
    with temporary_directory as temporary:
        programs.give_to_user(Path(temporary))
        yield Path(temporary)


@contextmanager
def _running(programs: Programs, data: Path, sockets: Path, settings: dict[str, int | str]) -> Iterator[None]:
    """Run the server until the block ends. It accepts connections when the block begins."""
    where = programs.name_of(data) if sockets == data else sockets
    here = {"listen_addresses": "", "unix_socket_directories": f'"{where}"', "unix_socket_permissions": "0700"}
    options = [f"--{name}={value}" for name, value in {**here, "port": _PORT, **settings}.items()]
    log = data.parent / "postgres.log"
    with _explained(data.parent):
        output = _open_log(log)
        earlier = output.tell()
    run = programs.run("postgres", data, f"{_FOLDER}={data}", *options, output=output, end=_stop)
    with output, run as server:
        deadline = time.monotonic() + START_TIMEOUT
        while not _is_ready(server, data):
            if server.poll() is not None or time.monotonic() > deadline:
                reason = _reason(log.read_bytes()[earlier:])
                raise EmbeddedUnavailable(f"the embedded PostgreSQL did not start: {reason}; its log is {log}")
            time.sleep(0.01)
        _report_end(server, log)
        yield


def _open_log(log: Path) -> IO[bytes]:
    """Open the log for appending; only its owner can read it. Begins a new one when it has more than MAX_LOG bytes.
    Raises OSError."""

    def append() -> IO[bytes]:
        file = open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():  # not if it is a link to /dev/null
            os.fchmod(file.fileno(), 0o600)
        return file

    file = append()
    if file.tell() > MAX_LOG:
        file.close()
        log.replace(log.with_name(f"{log.name}.1"))
        file = append()
    return file


def _report_end(server: Process, log: Path) -> None:
    """Start a thread that logs the end of the server. Raises EmbeddedUnavailable."""
    try:
        # The thread inherits and keeps the mask: SIGINT and SIGTERM are for the main thread, which may hold them back.
        with signals_held():
            threading.Thread(target=_log_end, args=(server, log), daemon=True).start()
    except RuntimeError as error:
        raise EmbeddedUnavailable(f"{error}; allow this user more processes (ulimit -u), or end some") from None


def _log_end(server: Process, log: Path) -> None:
    """Wait for the server to end, and log an end that this process did not cause."""
    status = server.wait()
    if status != 0:
        logger.error(
            "the embedded PostgreSQL ended by itself, with status %d; nothing can be bought until dropzero is started "
            "again, and nothing that was confirmed is lost; its log is %s",
            status,
            log,
        )


def _is_ready(server: Process, data: Path) -> bool:
    postmaster = _Postmaster.read(data)
    return postmaster is not None and postmaster.ready and postmaster.pid == server.pid


def _reason(output: bytes) -> str:
    """Why a program ended, in its own words: the first error that it printed, or else its last line."""
    lines = output.decode(errors="replace").splitlines()
    errors = [match[1] for line in lines if (match := re.search(r"\b(?:FATAL|PANIC|error): +(.*)", line))]
    return (errors[:1] or lines[-1:] or ["it gave no reason"])[0]


def _kill(initdb: Process) -> None:
    if initdb.poll() is None:
        os.killpg(initdb.pid, signal.SIGKILL)  # it leads a session of its own
        initdb.communicate()  # returns after the last of its children has ended


def _stop(server: Process) -> None:
    """Stop the server cleanly. Another SIGINT or SIGTERM meanwhile, as from a second Ctrl-C, stops it at once."""
    with signals_held():
        server.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: clients are disconnected, nothing is lost
        deadline = time.monotonic() + STOP_TIMEOUT
        while server.poll() is None and time.monotonic() < deadline and not signals_waiting():
            time.sleep(0.005)
        if server.poll() is None:
            server.send_signal(signal.SIGQUIT)
            server.wait()


def _url(sockets: Path) -> str:
    return f"postgresql://postgres@/postgres?host={quote(str(sockets))}&port={_PORT}"
