"""The embedded PostgreSQL of root: it runs as another user, and the modes of existing folders stay as they are.

pytest's temporary folders have the mode 0700, as /root has.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from api.database.account import PACKAGE, PROGRAMS, Account, account_for, packages_for
from api.database.embedded import embedded_postgres, running_embedded_url
from api.database.errors import EmbeddedUnavailable
from api.database.postgres_programs import Programs, find_packages
from tests.database.owner import OWN, processes_on
from tests.database.test_embedded import execute
from tests.patience import PATIENCE

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")


@pytest.fixture
def account(tmp_path: Path) -> Account:
    account = account_for(tmp_path / "none-yet")
    assert account is not None
    return account


@pytest.fixture
def copies() -> Iterator[Path]:
    """A folder for copies, which does not exist yet, below a folder that every user can enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "dropzero"


@pytest.fixture
def private_packages(tmp_path: Path) -> Path:
    """A copy of PostgreSQL's programs: only root can enter its folder, and only root can read its files."""
    installed, packages = find_packages(), tmp_path / "private" / "site-packages"
    packages.parent.mkdir(mode=0o700)
    shutil.copytree(installed / PROGRAMS.parent, packages / PROGRAMS.parent, symlinks=True)
    if (installed / f"{PACKAGE}.libs").exists():
        shutil.copytree(installed / f"{PACKAGE}.libs", packages / f"{PACKAGE}.libs")
    subprocess.run(["chmod", "-R", "go=", str(packages)], check=True)
    return packages


def modes(*paths: Path) -> dict[Path, int]:
    """The modes of all folders above the paths."""
    return {parent: stat.S_IMODE(parent.stat().st_mode) for path in paths for parent in path.absolute().parents}


def users_of(pids: Iterable[int]) -> set[int]:
    """The users that the processes run as; at least one."""
    users = {Path(f"/proc/{pid}").stat().st_uid for pid in pids}
    assert users
    return users


MAKE_USER = """
import sys
from pathlib import Path
from api.database import account

account.SYSTEM_USER = sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
print(account.account_for(Path("/none-yet")))
"""


@pytest.fixture
def new_user() -> Iterator[str]:
    """The name of a system user that does not exist yet."""
    name = f"dropzero-{os.getpid()}"
    yield name
    subprocess.run(["userdel", name], check=True)


def test_processes_that_start_at_once_make_the_system_user_once(new_user: str, tmp_path: Path) -> None:
    """useradd, run twice at once, gives the user a second id, and the first process's database to nobody."""
    useradd = tmp_path / "useradd"
    useradd.write_text(
        f"#!/bin/sh\necho run >> {tmp_path}/runs\nsleep 0.2\nPATH=/usr/sbin:/sbin:/usr/bin exec useradd $@\n"
    )
    useradd.chmod(0o755)
    there = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    program, pipe = [sys.executable, "-c", MAKE_USER, new_user], subprocess.PIPE
    processes = [subprocess.Popen(program, env=there, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    accounts = {process.communicate(timeout=PATIENCE)[0] for process in processes}

    assert (tmp_path / "runs").read_text() == "run\n"
    assert len(accounts) == 1
    assert "Account(user=" in accounts.pop()


async def test_the_modes_of_folders_above_the_data_and_the_programs_stay(tmp_path: Path) -> None:
    directory = tmp_path / "private" / "inner" / "data"
    (tmp_path / "private").mkdir(mode=0o700)
    directory.parent.mkdir(mode=0o700)
    before = modes(directory, find_packages() / PROGRAMS)
    assert before[directory.parent] == 0o700
    with embedded_postgres(directory) as url:
        assert await execute(url, "SELECT current_user || 42") == "postgres42"
        assert running_embedded_url(directory) == url
        assert 0 not in users_of(processes_on(directory))
        assert modes(directory, find_packages() / PROGRAMS) == before
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert modes(directory, find_packages() / PROGRAMS) == before
    assert processes_on(directory) == {}
    with embedded_postgres(directory) as url:
        assert await execute(url, "SELECT 42") == 42
    assert modes(directory, find_packages() / PROGRAMS) == before


@pytest.mark.slow
async def test_an_existing_data_folder_keeps_its_mode(tmp_path: Path) -> None:
    for mode in (0o755, 0o700, 0o711):
        directory = tmp_path / f"{mode:o}"
        directory.mkdir()
        directory.chmod(mode)
        with embedded_postgres(directory) as url:
            assert await execute(url, "SELECT 42") == 42
        assert stat.S_IMODE(directory.stat().st_mode) == mode


def test_a_start_works_with_a_long_path_and_a_private_temporary_folder(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir(mode=0o700)
    directory = tmp_path / ("x" * 120)
    run = subprocess.run(
        [sys.executable, "-c", OWN, str(directory)],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.stdout.startswith("postgresql://"), run.stderr
    assert run.returncode == 0
    assert modes(temporary / "any")[temporary] == 0o700


@pytest.mark.slow
def test_programs_that_the_user_cannot_read_are_copied_once(
    account: Account, private_packages: Path, copies: Path, tmp_path: Path
) -> None:
    before = modes(private_packages / PROGRAMS)
    assert not account.can_run(private_packages)
    umask = os.umask(0o077)
    try:
        place = packages_for(account, private_packages, copies)
    finally:
        os.umask(umask)
    assert place.parent == copies
    assert account.can_run(place)
    assert modes(private_packages / PROGRAMS) == before
    assert packages_for(account, private_packages, copies) == place
    assert list(copies.iterdir()) == [place]

    data = tmp_path / "data"
    data.mkdir()
    programs = Programs(place / PROGRAMS, account)
    programs.give_to_user(data)
    with programs.run("initdb", data, output=subprocess.PIPE, end=lambda initdb: initdb.kill()) as initdb:
        output, _ = initdb.communicate(timeout=PATIENCE)
    assert initdb.returncode == 0, output.decode()
    assert (data / "PG_VERSION").read_text() == "16\n"


def test_installed_programs_that_the_user_can_read_are_run_where_they_are(account: Account, copies: Path) -> None:
    installed = find_packages()
    if not account.can_run(installed):
        pytest.skip(f"{installed} is out of reach for other users here")
    assert packages_for(account, installed, copies) == installed.resolve()
    assert not copies.exists()


@pytest.mark.slow
def test_an_unsafe_or_unreachable_folder_for_copies_is_refused(
    account: Account, private_packages: Path, copies: Path, tmp_path: Path
) -> None:
    copies.mkdir()
    copies.chmod(0o777)
    with pytest.raises(EmbeddedUnavailable, match=rf"{copies}: others than root can write to this folder; install dro"):
        packages_for(account, private_packages, copies)
    assert list(copies.iterdir()) == []

    hidden = tmp_path / "private" / "copies"
    with pytest.raises(EmbeddedUnavailable, match=r"cannot be copied either: .*copies/.*or run it as another user"):
        packages_for(account, private_packages, hidden)
    with pytest.raises(EmbeddedUnavailable, match=r"/missing/copies: No such file or directory; install dropzero in"):
        packages_for(account, private_packages, tmp_path / "missing" / "copies")
