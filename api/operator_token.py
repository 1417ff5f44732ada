"""The operator's token of the embedded database: fresh at every start, kept where only its owner can read it."""

import os
import re
import secrets
from pathlib import Path

_FILE_NAME = "operator-token"


class TokenNotKept(Exception):
    """The operator's token cannot be written; the message says why and what to do."""


def make_operator_token(directory: Path) -> str:
    """Make a new token and keep it in the data directory, with mode 0600. Raises TokenNotKept."""
    token = secrets.token_urlsafe(32)
    path = directory / _FILE_NAME
    try:
        path.unlink(missing_ok=True)  # so that the mode is set on creation, and never wider for a moment
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.write(f"{token}\n")
    except OSError as error:
        raise TokenNotKept(
            f"cannot keep the operator's token in {path}: {error.strerror}; remove what is there, or set "
            "DROPZERO_ADMIN_TOKEN to a token of your own"
        ) from None
    return token


def find_operator_token(directory: Path) -> str | None:
    """The token of the server that runs, or ran last, on this data directory."""
    try:
        token = (directory / _FILE_NAME).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return token if re.fullmatch(r"[!-~]+", token) else None  # what a header can carry
