"""Pages as they are rendered, without a server."""

from typing import Any

from api.shop.shop import LegalPage, LegalText, Seller, Shop
from api.storefront.pages import ABOUT, ARCHITECTURE, DROP, MISSING, ORDER, ORDERS, RACE, SHOP, UNANSWERED, Page
from api.storefront.reader import Reader
from api.storefront.rendering import Options, Rendering

_TERMS = LegalText("en", "Terms", ("You buy from us.", "Not from others."))

VALUES: dict[Page, dict[str, Any]] = {
    DROP: {"view": None, "outcome": None, "offers": ()},
    SHOP: {"sections": None, "drops": (), "drop": None},
    UNANSWERED: {"verdict": "answer_busy", "page_link": "/", "quantity": 1, "key": ""},
    ORDERS: {"notice": None, "views": (), "shown": None, "is_first": True, "more": None, "days": 180},
    ORDER: {"notice": "payment_missing", "view": None},
    MISSING: {"offers": ()},
    ABOUT: {"legal": _TERMS},
    ARCHITECTURE: {"regions": ()},
    RACE: {"regions": ("one", "two")},
}
"""What the templates need that show what the database says."""

_SHOP = Shop(
    seller=Seller("We", "Here 1", "we@shop.example"),
    pages={"terms": LegalPage("terms", "en", {"en": _TERMS})},
)
_RENDERING = Rendering(Options(graphiql=True, race=True, demo=True, guests=True, shop=_SHOP))


def rendered(page: Page, language: str = "en") -> str:
    """The page's document in a language, without anything of the database."""
    return _RENDERING.render(page, Reader(language), **VALUES.get(page, {}))
