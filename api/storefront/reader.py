"""The reader of a page: what the server has to know of the one who requests it."""

from dataclasses import dataclass

from api.graphql.headers import Headers, text_of
from api.storefront.languages import choose_language, language_in_cookies, language_in_query, links_carry_language


@dataclass(frozen=True, slots=True)
class Reader:
    """`language`: in which the page is rendered. `carries_language`: the page's links name it too, because nothing else
    would. `named_language`: the page's own address names it."""

    language: str
    carries_language: bool = False
    named_language: bool = False

    @classmethod
    def of(cls, headers: Headers, query_string: bytes) -> "Reader":
        """The reader who sends a request with these."""
        chosen = (
            language_in_query(query_string),
            language_in_cookies(text_of(headers, b"cookie")),
            text_of(headers, b"accept-language"),
        )
        return cls(choose_language(*chosen), links_carry_language(*chosen), chosen[0] is not None)

    def link(self, path: str) -> str:
        """The address of another page of the shop, for this reader."""
        return _with_language(path, self.language) if self.carries_language else path

    def canonical(self, address: str) -> str:
        """The address under which search engines know the page at this address: with its language if the reader's
        request named one. Without, its language is each reader's own."""
        return _with_language(address, self.language) if self.named_language else address

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a page for this reader, which say to caches for whom it is."""
        return {"content-language": self.language, "vary": "accept-language, cookie"}


def _with_language(address: str, language: str) -> str:
    return f"{address}{'&' if '?' in address else '?'}lang={language}"
