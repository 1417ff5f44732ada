"""Programs that some tests need. Without the program the test is skipped with the reason; with CI=true it fails."""

import os
import shutil
from typing import NoReturn

import pytest

SERVER_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
"""Debian has servers in /usr/sbin, where only root looks for programs."""


def cannot_run(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI, where every program must be installed."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def find_server(program: str) -> str:
    """The path of a server program, from Debian's package with this name. Skips or fails the test without it."""
    found = shutil.which(program, path=SERVER_PATH)
    return found or cannot_run(f"there is no {program}; on Debian: apt-get install {program}")
