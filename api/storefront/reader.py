"""The reader of a page: what the server has to know of the one who requests it."""

from dataclasses import dataclass

from api.graphql.headers import Headers, text_of
from api.storefront.languages import choose_language, language_in_cookies, language_in_query, links_carry_language


@dataclass(frozen=True, slots=True)
class Reader:
    """`language`: in which the page is rendered. `carries_language`: the page's links name it too, because nothing else
    would."""

    language: str
    carries_language: bool = False

    @classmethod
    def of(cls, headers: Headers, query_string: bytes) -> "Reader":
        """The reader who sends a request with these."""
        chosen = (
            language_in_query(query_string),
            language_in_cookies(text_of(headers, b"cookie")),
            text_of(headers, b"accept-language"),
        )
        return cls(choose_language(*chosen), links_carry_language(*chosen))

    def link(self, path: str) -> str:
        """The address of another page of the shop, for this reader."""
        joint = "&" if "?" in path else "?"
        return f"{path}{joint}lang={self.language}" if self.carries_language else path

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a page for this reader, which say to caches for whom it is."""
        return {"content-language": self.language, "vary": "accept-language, cookie"}
