"""The files that the pages load: the scripts, and one stylesheet made of all styles."""

import mimetypes

from api.storefront.pages import FOLDER, SCRIPTS

STYLESHEET = "storefront.css"

STYLES = ("base", "frame", "shared", "stock", "cards", "drop", "hold", "architecture", "race")
"""The files of the stylesheet in their order, the general before the particular: of two rules that are equally
specific, the later one wins."""


def stylesheet() -> bytes:
    """Return the styles as one file, so that a page needs one request for them."""
    return b"\n".join((FOLDER / "styles" / f"{name}.css").read_bytes() for name in STYLES)


def read_files() -> dict[str, tuple[bytes, str | None]]:
    """Return the content and the media type of each file under /static/, by its exact name."""
    contents = {path.name: path.read_bytes() for path in SCRIPTS.iterdir()} | {STYLESHEET: stylesheet()}
    return {name: (content, mimetypes.guess_type(name)[0]) for name, content in contents.items()}
