"""Pages as they are rendered, without a server."""

from typing import Any

from api.storefront.pages import DROP, Page
from api.storefront.reader import Reader
from api.storefront.rendering import Options, Rendering

VALUES: dict[Page, dict[str, Any]] = {DROP: {"product": None}}
"""What the templates need that show what the database says."""

_RENDERING = Rendering(Options(graphiql=True, race=True, demo=True, guests=True))


def rendered(page: Page, language: str = "en") -> str:
    """The page's document in a language, without anything of the database."""
    return _RENDERING.render(page, Reader(language), **VALUES.get(page, {}))
