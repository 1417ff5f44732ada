"""Which language a request gets: by its query string, its cookie, or its browser."""

import pytest

from api.storefront.languages import (
    COOKIE,
    MAX_ACCEPT_LANGUAGE,
    choose_language,
    language_in_cookies,
    language_in_query,
    links_carry_language,
)


@pytest.mark.parametrize(
    ("query", "cookie", "accepted", "language"),
    [
        ("ar", "ko", "fr", "ar"),
        (None, "ko", "fr", "ko"),
        (None, None, "fr", "fr"),
        (None, None, "", "en"),
        ("tlh", None, "ja", "ja"),
        ("<script>", "", "*", "en"),
        ("zh", None, "", "zh-Hans"),
        ("PT-br", None, "", "pt-BR"),
        (None, None, "pt-PT", "pt-BR"),
        (None, None, "zh-TW, en;q=0.5", "zh-Hans"),
        (None, None, "de-CH, de;q=0.9, es;q=0.4, en;q=0.6", "en"),
        (None, None, "en;q=0, ko;q=0.1", "ko"),
        (None, None, "ja;q=many, ;;, es", "es"),
        (None, None, "de, " * 49 + "ko", "ko"),
        (None, None, "de, " * 49 + "korean", "en"),
        (None, None, "ko" + "o" * MAX_ACCEPT_LANGUAGE, "en"),
    ],
)
def test_the_query_string_decides_then_the_cookie_then_the_browser(
    query: str | None, cookie: str | None, accepted: str, language: str
) -> None:
    assert choose_language(query, cookie, accepted) == language


@pytest.mark.parametrize(
    ("query", "cookie", "accepted", "carried"),
    [
        (None, None, "en", False),
        ("ja", None, "en", True),
        ("ja", None, "", True),
        ("ja", None, "ja-JP, en;q=0.5", False),
        ("ja", "ja", "en", False),
        ("ja", "ko", "en", False),
        ("ja", "tlh", "en", True),
        ("tlh", None, "ja", False),
    ],
)
def test_links_carry_a_language_that_nothing_else_keeps(
    query: str | None, cookie: str | None, accepted: str, carried: bool
) -> None:
    assert links_carry_language(query, cookie, accepted) == carried


@pytest.mark.parametrize(
    ("query_string", "language"),
    [
        (b"", None),
        (b"lang=ja", "ja"),
        (b"utm_source=mail&lang=pt%2DBR", "pt-BR"),
        (b"language=ja&slang=ja&lang", None),
        (b"lang=", ""),
        (b"lang=ja&lang=ko", "ko"),
        (b"a&" * 19 + b"lang=ja", "ja"),
        (b"a&" * 20 + b"lang=ja", None),
        (b"a=" + b"x" * 60_000 + b"&lang=ja", "ja"),
    ],
)
def test_the_last_lang_among_the_first_parameters_counts(query_string: bytes, language: str | None) -> None:
    assert language_in_query(query_string) == language


@pytest.mark.parametrize(
    ("cookies", "language"),
    [
        ("", None),
        (f"{COOKIE}=ja", "ja"),
        (f"a=b; {COOKIE}=pt-BR; c=d", "pt-BR"),
        (f"a=b,{COOKIE}=ar", "ar"),
        (f'{COOKIE}="ko"', "ko"),
        (f"other_{COOKIE}=ja", None),
        (f"{COOKIE}_other=ja", None),
        (f"{COOKIE}=ar; {COOKIE}=ko", "ko"),
        (f"other_{COOKIE}=ja; {COOKIE}=ko", "ko"),
        (f"{COOKIE}=", None),
        (f"{COOKIE}={'j' * 36}", None),
        (f"a={'b' * 8_000}; {COOKIE}=ja", "ja"),
        (f"a={'b' * 9_000}; {COOKIE}=ja", None),
    ],
)
def test_the_last_cookie_of_the_first_characters_counts(cookies: str, language: str | None) -> None:
    assert language_in_cookies(cookies) == language
