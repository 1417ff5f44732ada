"""The key of guest tokens on a laptop: made once, kept over restarts, and read by its owner only."""

import os
import re
from pathlib import Path

import pytest

from api.guest_key import GuestKeyNotKept, keep_guest_key
from api.settings import read_settings


def test_the_key_is_made_once_and_stays(tmp_path: Path) -> None:
    key = keep_guest_key(tmp_path)
    assert keep_guest_key(tmp_path) == key
    assert [path.name for path in tmp_path.iterdir()] == ["guest-key"]
    assert read_settings({"DROPZERO_GUEST_KEY": key}).guest_keys == (key,)  # it could be set by hand
    (tmp_path / "other").mkdir()
    assert keep_guest_key(tmp_path / "other") != key


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key = keep_guest_key(tmp_path)
        assert (tmp_path / "guest-key").stat().st_mode & 0o777 == 0o600
        (tmp_path / "guest-key").chmod(0o644)
        assert keep_guest_key(tmp_path) == key
        assert (tmp_path / "guest-key").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_start_that_was_cut_off_leaves_no_part_of_a_key(tmp_path: Path) -> None:
    (tmp_path / f"guest-key.{os.getpid()}").write_text("a part")
    assert len(keep_guest_key(tmp_path)) == 43


@pytest.mark.parametrize("content", [b"", b"\n", b"too short", b"\xff" * 40, b"one " * 20])
def test_a_file_without_a_key_is_not_replaced_by_a_new_key(tmp_path: Path, content: bytes) -> None:
    """Every guest's token would end, and nobody would know why."""
    path = tmp_path / "guest-key"
    path.write_bytes(content)
    with pytest.raises(GuestKeyNotKept, match=rf"{re.escape(str(path))}: it has no key; remove that path, which ends"):
        keep_guest_key(tmp_path)
    assert path.read_bytes() == content


def test_a_key_that_cannot_be_kept_raises_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "guest-key").mkdir()
    for directory, reason in ((tmp_path, "Is a directory"), (tmp_path / "missing", "No such file or directory")):
        path = re.escape(str(directory / "guest-key"))
        with pytest.raises(GuestKeyNotKept, match=rf"{path}: {reason}; remove that path, .*or set DROPZERO_GUEST_KEY"):
            keep_guest_key(directory)
