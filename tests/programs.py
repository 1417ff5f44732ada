"""Programs that some tests need: where one is missing they are skipped with the reason; where CI=true they fail."""

import os
import shutil
from typing import NoReturn

import pytest

SERVER_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
"""Debian has servers in /usr/sbin, where only root looks for programs."""


def cannot_run(reason: str) -> NoReturn:
    """Skip the test, or fail it where everything is meant to be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def find_server(program: str) -> str:
    """The path of a server, which is in Debian's package of the same name. Skips or fails the test without it."""
    found = shutil.which(program, path=SERVER_PATH)
    return found or cannot_run(f"there is no {program}; on Debian: apt-get install {program}")
