"""The formats of images: what a file really is, and how large it is, whatever its name and its sender claim."""

from dataclasses import dataclass
from io import BytesIO

import imagesize

from api.drops.details import MAX_SIDE

MAX_PIXELS = 50_000_000
"""Pixels of an image. A browser needs 4 bytes of memory for each, however small the file is."""

MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}
"""The media types by the ending of a file's name. SVG is none of them: it can have scripts."""

NAMES = "PNG, JPEG, WebP or AVIF"


class InvalidImage(Exception):
    """The content is no image that pages can show; the message says what to send."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What an image is. `ending`: one of MEDIA_TYPES. `width` and `height` in pixels, as browsers show it: a photo that
    was taken upright is higher than wide."""

    ending: str
    width: int
    height: int

    @classmethod
    def of(cls, content: bytes) -> "Measured":
        """Measure an image. It reads the headers, and decodes no pixel. Content of 5 MB that is made for it can take
        0.2 s (measured on 2 shared cores). Raises InvalidImage."""
        ending = _ending_of(content)
        if ending is None:
            hint = "; an SVG file can have scripts" if b"<svg" in content[:1000] else ""
            raise InvalidImage(f"send an image as {NAMES}{hint}")
        width, height = imagesize.get(BytesIO(content))
        if width < 1 or height < 1:
            raise InvalidImage(f"the file begins like an image, but it is damaged; send a whole {NAMES}")
        if width > MAX_SIDE or height > MAX_SIDE or width * height > MAX_PIXELS:
            raise InvalidImage(
                f"the image has {width} x {height} pixels; send one of at most {MAX_SIDE} on each side, and "
                f"{MAX_PIXELS} in all"
            )
        return cls(ending, width, height)


def _ending_of(content: bytes) -> str | None:
    """The ending for what the first bytes say; None for anything else."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpg"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return "avif"
    return None
