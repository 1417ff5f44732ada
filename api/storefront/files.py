"""The files that the pages load: the scripts, and stylesheets made of all styles."""

import mimetypes
from collections.abc import Iterable

from rcssmin import cssmin

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


def stylesheet(styles: Iterable[str]) -> bytes:
    """Return styles as one file, so that a page needs one request for them."""
    return b"\n".join((FOLDER / "styles" / f"{name}.css").read_bytes() for name in styles)


def read_files() -> dict[str, tuple[bytes, str | None]]:
    """Return the content and the media type of each file under /static/, by its exact name: scripts and stylesheets
    without comments and white space, which are a third of their bytes."""
    contents = {path.name: read_script(path.name).encode() for path in SCRIPTS.iterdir()}
    contents |= {name: cssmin(stylesheet(styles)) for name, styles in STYLESHEETS.items()}
    return {name: (content, mimetypes.guess_type(name)[0]) for name, content in contents.items()}
