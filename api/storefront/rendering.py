"""Rendering: templates become pages, each in the language of its reader."""

from dataclasses import dataclass, field
from functools import cache, lru_cache

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from api.shop.colours import paper_of
from api.shop.shop import NAME, Shop, Theme
from api.storefront.cards import Card
from api.storefront.content import KEY_MARK, Content, KeyedContent
from api.storefront.formats import Formats
from api.storefront.languages import LANGUAGES, RIGHT_TO_LEFT
from api.storefront.pages import FOLDER, LOAD_AGAIN, Page, read_messages, script_texts
from api.storefront.reader import Reader

KEPT_CARDS = 2_000
"""Cards that are kept as they were rendered. Each takes about 1.5 kB, and up to 0.3 ms to render."""

KEPT = 200
"""Pages that are kept as they were rendered. Each takes about 20 kB, and some milliseconds to render and compress."""

TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def as_json(text: str) -> Markup:
    """JSON for a script element of a page, which no text in it can end."""
    return Markup(text.replace("<", "\\u003c"))  # noqa: S704 it is JSON without "<"


TEMPLATES.filters["as_json"] = as_json
formats_of = cache(Formats)


@dataclass(frozen=True, slots=True)
class Options:
    """What a deployment lets pages do. `graphiql`: they link to GraphiQL at /graphql. `race`: the page about the
    architecture has the race, in which readers buy units for made-up buyers and give them back. `demo`: held orders
    link to a page that plays their payment; without it, the pages say that the shop takes the payment. `guests`:
    readers can buy as guests; without them, the pages say that buyers must sign in. `shop`: what the operator has said
    of the shop."""

    graphiql: bool
    race: bool
    demo: bool
    guests: bool
    shop: Shop = field(default_factory=Shop)


class Rendering:
    """Renders the pages of one deployment. A page of the same content for the same kind of reader is rendered once: at
    an opening, thousands load the same one."""

    def __init__(self, options: Options) -> None:
        """Reads all templates and languages, so that no request has to."""
        self.options = options
        self._theme_colours = paper_of(options.shop.theme)
        self.content = lru_cache(KEPT)(self._content)
        self.keyed = lru_cache(KEPT)(self._keyed)
        self.card = lru_cache(KEPT_CARDS)(self._card)
        for template in TEMPLATES.list_templates():  # those that others include, too
            TEMPLATES.get_template(template)
        for language in LANGUAGES:
            formats_of(language)

    def _content(self, page: Page, reader: Reader, **values: object) -> Content:
        """The page as it is sent. `values` are for its template, and can be hashed."""
        return Content(self.render(page, reader, **values).encode(), "text/html")

    def _keyed(self, page: Page, reader: Reader, **values: object) -> KeyedContent:
        """A page that has a key of its own in each response: see KeyedContent."""
        return KeyedContent(self.render(page, reader, key=KEY_MARK.decode(), **values).encode(), "text/html")

    def _card(self, card: Card, reader: Reader, level: int = 3, *, named: bool = False, eager: bool = False) -> Markup:
        """A card of a list. `level`: of its heading. `named`: it is below a heading with the name of its drop. `eager`:
        the browser loads its picture before it knows where that is. The others wait until they come near the screen."""
        language = reader.language
        rendered = TEMPLATES.get_template("card.html").render(
            card=card,
            level=level,
            named=named,
            eager=eager,
            link=reader.link,
            texts=read_messages(language),
            formats=formats_of(language),
        )
        return Markup(rendered)  # noqa: S704 the template has escaped it

    def render(self, page: Page, reader: Reader, **values: object) -> str:
        """The page's whole HTML document. Its language, direction and texts are right before any script runs. `here`
        among the values: the path and the parameters of the page, without a language. `origin`: of the shop, for a page
        that search engines and messengers are to know."""
        language, shop = reader.language, self.options.shop
        return TEMPLATES.get_template(page.template).render(
            page=page,
            language=language,
            languages=LANGUAGES,
            direction="rtl" if language in RIGHT_TO_LEFT else "ltr",
            link=reader.link,
            canonical=reader.canonical,
            texts=read_messages(language),
            formats=formats_of(language),
            script_texts=as_json(orjson.dumps(script_texts(page, language)).decode()),
            load_again=Markup(LOAD_AGAIN),  # noqa: S704 it is our own script
            options=self.options,
            shop=shop,
            is_ours=shop.name == NAME,
            has_theme=shop.theme != Theme(),
            theme_colours=self._theme_colours,
            **{"here": "", "origin": None, **values},
        )
