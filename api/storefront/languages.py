"""The language of a page: what the storefront speaks, and which of it a request gets."""

import re
from urllib.parse import unquote_plus

LANGUAGES = {
    "en": "English",
    "ja": "日本語",
    "zh-Hans": "简体中文",
    "ko": "한국어",
    "es": "Español",
    "fr": "Français",
    "pt-BR": "Português (Brasil)",
    "ar": "العربية",
}
"""The languages of the storefront, by BCP 47 tag, each under the name that its speakers give it. English is the
fallback.

A reader of another variety gets its nearest relative. Readers of Traditional Chinese (zh-TW, zh-HK) get Simplified
Chinese: most of them read it faster than English, and their browsers ask for "zh" before English. The menu says
简体中文, and English is one click away. Readers from Portugal get Brazilian Portuguese for the same reason."""

RIGHT_TO_LEFT = {"ar"}

COOKIE = "dropzero_language"
"""The cookie in which the page keeps the language that its reader chose."""

MAX_ACCEPT_LANGUAGE = 200
"""Characters of Accept-Language that are read, up to the last whole entry. A browser with ten languages sends fewer.
The header is advice, which a server may disregard (RFC 9110, section 12.5.4)."""

MAX_PARAMETERS = 20
"""Parameters of a page's query string that are read, from its start. Links in mails carry some ten."""

MAX_COOKIES = 8_192
"""Characters of the Cookie header that are read. nginx accepts no longer line by default."""

MAX_TAG = 35
"""Characters of a language's tag (RFC 5646, section 4.4.1)."""

_ACCEPTED = re.compile(r"[ \t]*([A-Za-z0-9-]+|\*)[ \t]*(?:;[ \t]*q=(0(?:\.[0-9]*)?|1(?:\.0*)?)[ \t]*)?")
_COOKIE = re.compile(rf'{COOKIE}=(?<![^;, \t]{COOKIE}=)"?([A-Za-z0-9-]{{1,{MAX_TAG}}})"?[ \t]*(?:$|[;,])')


def choose_language(query: str | None, cookie: str | None, accepted: str) -> str:
    """Return the tag of the language to answer in: that of the query string, else that of the cookie, else the one that
    the browser prefers (RFC 9110, section 12.5.4), else English. MAX_ACCEPT_LANGUAGE characters of `accepted` count."""
    if len(accepted) > MAX_ACCEPT_LANGUAGE:
        accepted = accepted[:MAX_ACCEPT_LANGUAGE].rpartition(",")[0]
    weighted: list[tuple[float, str]] = []
    for entry in accepted.split(","):
        if (match := _ACCEPTED.fullmatch(entry)) is not None:
            weighted.append((float(match[2] or 1), match[1]))
    preferred = [tag for quality, tag in sorted(weighted, key=lambda entry: -entry[0]) if quality > 0]
    return next(filter(None, map(_relative, (query, cookie, *preferred))), "en")


def links_carry_language(query: str | None, cookie: str | None, accepted: str) -> bool:
    """Return whether the links of a page must carry its `lang` to the other pages of the shop. They must when the query
    string chose the language, no cookie keeps a choice, and the browser prefers another language. The parameters are
    those of `choose_language`."""
    if _relative(query) is None or _relative(cookie) is not None:
        return False
    return choose_language(None, None, accepted) != choose_language(query, None, accepted)


def _relative(tag: str | None) -> str | None:
    """The language of the storefront whose first subtag is that of `tag`, or None."""
    wanted = (tag or "").lower().partition("-")[0]
    return next((language for language in LANGUAGES if language.partition("-")[0] == wanted), None)


def language_in_query(query_string: bytes) -> str | None:
    """Return the language that the address of a page names, or None."""
    return value_in_query(query_string, b"lang")


def value_in_query(query_string: bytes, name: bytes) -> str | None:
    """Return the last value of this name among the first MAX_PARAMETERS parameters, or None. 3 * MAX_TAG characters of
    it are read."""
    found, begin = None, name + b"="
    for parameter in query_string.split(b"&", MAX_PARAMETERS)[:MAX_PARAMETERS]:
        if parameter.startswith(begin):
            found = unquote_plus(parameter[len(begin) :][: 3 * MAX_TAG].decode("latin-1"))
    return found


def language_in_cookies(cookies: str) -> str | None:
    """Return the language that the reader chose, or None. It is in the last COOKIE of a Cookie header, of which
    MAX_COOKIES characters count."""
    found = _COOKIE.findall(cookies[:MAX_COOKIES])
    return found[-1] if found else None
