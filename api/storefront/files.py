"""The files that the pages load: the scripts, and stylesheets made of all styles."""

import mimetypes
import re
from collections.abc import Iterable

from api.storefront.pages import FOLDER, SCRIPTS, read_script

STYLESHEETS = {
    "storefront.css": ("base", "frame", "shared", "stock", "offer", "drop", "hold", "print"),
    "list.css": ("cards",),
    "architecture.css": ("architecture", "race"),
    "orders.css": ("orders", "payment"),
    "operator.css": ("operator", "charts"),
}
"""The stylesheets by name, and the styles of each in their order, the general before the particular: of two rules that
are equally specific, the later one wins."""


_COMMENT = re.compile(rb"/\*.*?\*/", re.DOTALL)
_UNNEEDED = re.compile(rb"(?<=:)\s+|\s*([{};,])\s*|(?<=[ (:,-])0(?=\.)| (>) ")
"""White space around punctuation, and the zero before a decimal point. In a selector, white space before a colon has a
meaning, and there is none behind it."""


def stylesheet(styles: Iterable[str]) -> bytes:
    """Return styles as one file, so that a page needs one request for them."""
    return b"\n".join((FOLDER / "styles" / f"{name}.css").read_bytes() for name in styles)


def _sent(style: bytes) -> bytes:
    """A stylesheet as it is sent: without comments, and without what means nothing."""
    return _UNNEEDED.sub(rb"\1\2", _COMMENT.sub(b"", style)).replace(b";}", b"}")


def read_files() -> dict[str, tuple[bytes, str | None]]:
    """Return the content and the media type of each file under /static/, by its exact name."""
    contents = {path.name: read_script(path.name).encode() for path in SCRIPTS.iterdir()}
    contents |= {name: _sent(stylesheet(styles)) for name, styles in STYLESHEETS.items()}
    return {name: (content, mimetypes.guess_type(name)[0]) for name, content in contents.items()}
