"""The folder of uploaded images. A file has the SHA-256 of its content as its name, and never changes."""

import hashlib
import os
import re
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from api.images.formats import MEDIA_TYPES, Measured

MAX_STORED = 500_000_000
"""Bytes of all images together."""

MAX_FILES = 2_000
"""Images. To add up the sizes of so many files takes a thread 10 to 40 ms (measured on 2 shared cores)."""

PIECE = 64 * 1024
"""Bytes that are read at a time. A client that reads slowly makes the server keep one piece, and no whole image."""

NAME = re.compile(rf"[0-9a-f]{{64}}\.(?:{'|'.join(MEDIA_TYPES)})")

_UNFINISHED = ".upload-"
_ABANDONED = 3600
"""Seconds after which a file without its name belongs to a process that was killed."""


class StoreFull(Exception):
    """There is no room for another image; the message says what to do."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image in the folder. `width` and `height` in pixels."""

    name: str
    width: int
    height: int


class ImageStore:
    """Adds and reads images. Its methods wait for the disk: call them in a thread."""

    def __init__(self, folder: Path, max_stored: int = MAX_STORED, max_files: int = MAX_FILES) -> None:
        """The folder is made with its first image."""
        self._folder = folder
        self._max_stored = max_stored
        self._max_files = max_files
        self._adding = Lock()

    def add(self, content: bytes) -> StoredImage:
        """Keep an image, once however often it is added. It gets its name when it is complete. Raises InvalidImage,
        StoreFull, OSError."""
        measured = Measured.of(content)
        name = f"{hashlib.sha256(content).hexdigest()}.{measured.ending}"
        path = self._folder / name
        with self._adding:
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                self._require_room(len(content))
                self._write(path, content)
        return StoredImage(name, measured.width, measured.height)

    def size(self, name: str) -> int:
        """Bytes of an image. `name` matches NAME. Raises FileNotFoundError, OSError."""
        return (self._folder / name).stat().st_size

    def read(self, name: str, offset: int) -> bytes:
        """The piece of an image that begins at `offset`. Raises FileNotFoundError, OSError."""
        with open(self._folder / name, "rb", buffering=0) as file:
            file.seek(offset)
            return file.read(PIECE)

    def _require_room(self, size: int) -> None:
        """Raise StoreFull when another image of `size` bytes is too much. Two processes that add images at the same
        moment can pass the bound by an image each."""
        files, stored = 0, 0
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # another process has renamed it
                status = entry.stat()
                if entry.name.startswith(_UNFINISHED) and status.st_mtime < time.time() - _ABANDONED:
                    os.unlink(entry)
                else:
                    files, stored = files + 1, stored + status.st_size
        if files >= self._max_files or stored + size > self._max_stored:
            raise StoreFull(
                f"{self._folder} has {files} images of {stored} bytes in all, and at most {self._max_files} of "
                f"{self._max_stored} are kept; delete those that no product has, or name images by URLs of your own "
                "storage"
            )

    def _write(self, path: Path, content: bytes) -> None:
        unfinished = self._folder / f"{_UNFINISHED}{secrets.token_hex(8)}"
        try:
            with open(unfinished, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
