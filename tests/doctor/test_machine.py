"""What the doctor finds of the machine. The limits are passed in: no test can fill a disk."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api.doctor.finding import Level
from api.doctor.machine import Machine, check_machine, read_machine
from api.settings import read_settings
from tests.doctor.findings import not_ok, only

ROOMY = Machine(files=100_000, processes=10_000, memory=8e9, free=lambda folder: 50e9)


def test_nothing_is_wrong_with_a_machine_that_has_room(tmp_path: Path) -> None:
    settings = read_settings({"DROPZERO_DATA": str(tmp_path / "data")})
    assert not_ok(check_machine(ROOMY, settings)) == []
    assert only(check_machine(ROOMY, settings), "data folder").found == f"{tmp_path / 'data'} can be made"
    assert not_ok(check_machine(ROOMY, None)) == []


@pytest.mark.parametrize(
    ("machine", "check", "level", "words"),
    [
        (replace(ROOMY, files=50), "files", Level.FAILED, "a start needs 64"),
        (replace(ROOMY, files=4096), "files", Level.WARNING, "too few for DROPZERO_SOCKETS=15000"),
        (replace(ROOMY, processes=100), "processes", Level.WARNING, "this user may have 100"),
        (replace(ROOMY, memory=50e6), "memory", Level.FAILED, "50 MB free, and a start needs 100 MB"),
        (replace(ROOMY, memory=300e6), "memory", Level.WARNING, "300 MB free"),
        (replace(ROOMY, free=lambda folder: 100e6), "disk", Level.FAILED, "100 MB free, and a start needs 200 MB"),
        (replace(ROOMY, free=lambda folder: 1e9), "disk", Level.WARNING, "1.0 GB free"),
    ],
)
def test_what_a_machine_lacks_is_found(tmp_path: Path, machine: Machine, check: str, level: Level, words: str) -> None:
    [finding] = not_ok(check_machine(machine, read_settings({"DROPZERO_DATA": str(tmp_path)})))
    assert (finding.check, finding.level) == (check, level)
    assert words in finding.found


def test_a_full_folder_for_temporary_files_is_found(tmp_path: Path) -> None:
    def free(folder: Path) -> float:
        return 10e6 if str(folder) == "/dev/shm" else 50e9

    only_there: Callable[[Path], float] = free
    found = not_ok(check_machine(replace(ROOMY, free=only_there), None))
    assert [finding.check for finding in found] == (["/dev/shm"] if Path("/dev/shm").is_dir() else [])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux has a folder that even root cannot write to")
def test_a_data_folder_that_cannot_be_made_is_found() -> None:
    settings = read_settings({"DROPZERO_DATA": "/proc/dropzero"})
    [finding] = not_ok(check_machine(ROOMY, settings))
    assert (finding.check, finding.level) == ("data folder", Level.FAILED)
    assert "DROPZERO_DATA" in finding.mend


def test_the_limits_of_this_machine_are_read() -> None:
    machine = read_machine()
    assert machine.files >= 64
    assert machine.memory > 1e6
    assert machine.free(Path("/")) > 0
