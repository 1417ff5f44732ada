"""The key that signs guest tokens on the embedded database: made once, in a file that only its owner can read."""

import os
import secrets
from pathlib import Path

from api.identity.guests import parse_guest_keys
from api.operator_token import TokenNotKept

_FILE_NAME = "guest-key"


class GuestKeyNotKept(TokenNotKept):
    """The key cannot be read from its file or written to it; the message says why and what to do."""


def keep_guest_key(directory: Path) -> str:
    """The key in the data directory. It is made at the first start and stays, since guests keep their tokens. Raises
    GuestKeyNotKept."""
    path = directory / _FILE_NAME
    try:
        if not os.path.lexists(path):
            _make(path)
        [key] = parse_guest_keys(path.read_text(encoding="ascii"))
        path.chmod(0o600)  # the file can come from a backup that keeps no modes
    except OSError as error:
        raise _not_kept(path, error.strerror or str(error)) from None
    except ValueError:
        raise _not_kept(path, "it has no key") from None
    return key


def _make(path: Path) -> None:
    """Write a new key. The file gets its name when it is complete, so that no start finds a part of a key."""
    made = path.with_name(f"{path.name}.{os.getpid()}")
    made.unlink(missing_ok=True)
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(f"{secrets.token_urlsafe(32)}\n")
    made.rename(path)


def _not_kept(path: Path, reason: str) -> GuestKeyNotKept:
    return GuestKeyNotKept(
        f"cannot keep the key of guest tokens in {path}: {reason}; remove that path, which ends the tokens of all "
        "guests, or set DROPZERO_GUEST_KEY to a key of your own"
    )
