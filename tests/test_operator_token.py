"""The operator's token of a laptop: a new one each time, and only its owner can read it."""

import os
import re
from pathlib import Path

import pytest

from api.operator_token import TokenNotKept, find_operator_token, make_operator_token
from api.settings import read_settings


def test_a_token_is_found_where_it_was_made_and_replaced_by_the_next(tmp_path: Path) -> None:
    assert find_operator_token(tmp_path) is None
    first = make_operator_token(tmp_path)
    assert find_operator_token(tmp_path) == first
    second = make_operator_token(tmp_path)
    assert second != first
    assert find_operator_token(tmp_path) == second
    assert read_settings({"DROPZERO_ADMIN_TOKEN": first}).admin_token == first  # it could be set by hand


def test_only_the_owner_can_read_it_even_if_the_path_was_a_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched")
    (tmp_path / "operator-token").symlink_to(elsewhere)
    before = os.umask(0)
    try:
        make_operator_token(tmp_path)
    finally:
        os.umask(before)
    token = tmp_path / "operator-token"
    assert not token.is_symlink()
    assert token.stat().st_mode & 0o777 == 0o600
    assert elsewhere.read_text() == "untouched"


def test_a_file_without_a_token_is_ignored(tmp_path: Path) -> None:
    for content in (b"", b"\n", b"\xff\xfe", b"one\ntwo", b"\x1b[2J", b"one two"):
        (tmp_path / "operator-token").write_bytes(content)
        assert find_operator_token(tmp_path) is None


def test_a_token_that_cannot_be_written_raises_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "operator-token").mkdir()
    for directory, reason in ((tmp_path, "Is a directory"), (tmp_path / "missing", "No such file or directory")):
        path = re.escape(str(directory / "operator-token"))
        with pytest.raises(TokenNotKept, match=rf"{path}: {reason}; remove that path, or set DROPZERO_ADMIN_TOKEN"):
            make_operator_token(directory)
