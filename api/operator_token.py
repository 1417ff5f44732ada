"""The operator's token of the embedded database: new at every start, in a file that only its owner can read."""

import os
import re
import secrets
from pathlib import Path

_FILE_NAME = "operator-token"


class TokenNotKept(Exception):
    """The operator's token cannot be written to its file; the message says why and what to do."""


def make_operator_token(directory: Path) -> str:
    """Write a new token to a file in the data directory, with mode 0600, and return it. Raises TokenNotKept."""
    token = secrets.token_urlsafe(32)
    path = directory / _FILE_NAME
    try:
        path.unlink(missing_ok=True)  # so that the file has its mode from its creation on
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
    except OSError as error:
        raise TokenNotKept(
            f"cannot keep the operator's token in {path}: {error.strerror}; remove that path, or set "
            "DROPZERO_ADMIN_TOKEN to a token of your own"
        ) from None
    return token


def find_operator_token(directory: Path) -> str | None:
    """The token of the server that runs, or ran last, on this data directory; None if there is no valid one."""
    try:
        token = (directory / _FILE_NAME).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return token if re.fullmatch(r"[!-~]+", token) else None  # characters that a header can carry
