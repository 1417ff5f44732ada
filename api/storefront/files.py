"""The files that the pages load: the scripts, and stylesheets made of all styles."""

import mimetypes
import re
from collections.abc import Iterable
from pathlib import Path

from api.storefront.pages import FOLDER, SCRIPTS

STYLESHEETS = {
    "storefront.css": ("base", "frame", "shared", "stock", "cards", "drop", "hold"),
    "architecture.css": ("architecture", "race"),
    "operator.css": ("operator", "charts"),
}
"""The stylesheets by name, and the styles of each in their order, the general before the particular: of two rules that
are equally specific, the later one wins."""


_COMMENTS = {
    ".js": re.compile(rb"^ *//.*\n", re.MULTILINE),
    ".css": re.compile(rb"^ */\*.*?\*/\n", re.MULTILINE | re.DOTALL),
}
"""The comments that have lines of their own. They are for readers of the source, and a quarter of what buyers would
load."""


def stylesheet(styles: Iterable[str]) -> bytes:
    """Return styles as one file, so that a page needs one request for them."""
    return b"\n".join((FOLDER / "styles" / f"{name}.css").read_bytes() for name in styles)


def read_files() -> dict[str, tuple[bytes, str | None]]:
    """Return the content and the media type of each file under /static/, by its exact name."""
    contents = {path.name: path.read_bytes() for path in SCRIPTS.iterdir()}
    contents |= {name: stylesheet(styles) for name, styles in STYLESHEETS.items()}
    return {
        name: (_without_comments(name, content), mimetypes.guess_type(name)[0]) for name, content in contents.items()
    }


def _without_comments(name: str, content: bytes) -> bytes:
    comments = _COMMENTS.get(Path(name).suffix)
    return content if comments is None else comments.sub(b"", content)
