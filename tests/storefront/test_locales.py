"""The texts of the storefront: complete in every language, and each of them used."""

import re
from typing import Any

import pytest

from api.storefront.languages import LANGUAGES
from api.storefront.pages import FOLDER, PAGES, SCRIPTS, read_messages

PLURAL_FORMS = {
    "en": ["one", "other"],
    "ja": ["other"],
    "zh-Hans": ["other"],
    "ko": ["other"],
    "es": ["one", "many", "other"],
    "fr": ["one", "many", "other"],
    "pt-BR": ["one", "many", "other"],
    "ar": ["zero", "one", "two", "few", "many", "other"],
}
"""The categories of CLDR's plural rules for whole numbers and decimals."""

STRAIGHT = r"""["']|\.\.\."""
"""Quotation marks and dots of a typewriter."""

FOREIGN = {
    "fr": r"[ \w})\u2069][!?;:](?!\d)|[ \w]»|«[ \w]",
    "ja": r"[!?;,]",
    "zh-Hans": r"[!?;,:](?!\d)",
    "ar": r"[?;,]",
}
"""Marks of other languages. In French, a space that does not break is before a colon and an exclamation mark."""

every_language = pytest.mark.parametrize("language", LANGUAGES)


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def forms(message: Any) -> list[str]:
    return list(message.values()) if isinstance(message, dict) else [message]


@every_language
def test_a_locale_has_the_same_keys_in_the_same_order_as_english(language: str) -> None:
    assert list(read_messages(language)) == list(read_messages("en"))


def test_every_language_has_a_locale_and_no_other_has() -> None:
    assert {path.name for path in (FOLDER / "locales").iterdir()} == {f"{tag}.json" for tag in LANGUAGES}


@every_language
def test_a_locale_has_every_plural_form_where_english_has_any(language: str) -> None:
    english = read_messages("en")
    for key, message in read_messages(language).items():
        assert isinstance(message, dict) == isinstance(english[key], dict), key
        if isinstance(message, dict):
            # The form `zero` is for 0 where a language has no such category.
            categories = [form for form in message if form != "zero" or form in PLURAL_FORMS[language]]
            assert categories == PLURAL_FORMS[language], key
            assert not ("zero" in english[key] and "zero" not in message), key


@every_language
def test_a_text_names_the_same_values_as_in_english(language: str) -> None:
    english = read_messages("en")
    for key, message in read_messages(language).items():
        known = set().union(*map(placeholders, forms(english[key])))
        assert all(placeholders(form) <= known for form in forms(message)), key
        # A form for one number may leave the number out: Arabic's word for two units says it.
        assert known - {"count", "held"} <= placeholders(forms(message)[-1]), key
        assert all(form.strip() == form and form for form in forms(message)), key


@every_language
def test_names_run_in_their_own_direction(language: str) -> None:
    """Without isolates, the punctuation after an Arabic name in an English sentence moves to the name's other end."""
    for key, message in read_messages(language).items():
        for form in forms(message):
            assert form.count("{name}") == form.count("\u2068{name}\u2069"), key
            assert form.count("\u2068") == form.count("\u2069"), key


@every_language
def test_texts_have_the_marks_of_their_language(language: str) -> None:
    wrong = re.compile(rf"{STRAIGHT}|{FOREIGN.get(language, STRAIGHT)}")
    for key, message in read_messages(language).items():
        for form in forms(message):
            assert not wrong.search(form), (key, form)


@every_language
def test_a_locale_is_translated(language: str) -> None:
    if language == "en":
        return
    english = read_messages("en")
    # Words that are the same in some other language, a unit, and a name.
    alike = {"drop", "drops", "drop_title", "stock", "milliseconds", "race_version", "contact", "total"}
    same = {key for key, message in read_messages(language).items() if message == english[key]}
    assert same <= alike


def test_every_text_that_a_page_names_exists_and_every_text_is_named() -> None:
    templates = "".join(path.read_text() for path in (FOLDER / "templates").glob("*.html"))
    scripts = "".join(path.read_text() for path in SCRIPTS.glob("*.js"))
    keys = set(read_messages("en"))
    in_templates = set(re.findall(r"\btexts\.(\w+)", templates))
    literally = set(re.findall(r"\btext\(\s*\"(\w+)\"", scripts)) | set(re.findall(r"\bshowNotice\(\"(\w+)\"", scripts))
    titles = {page.title for page in PAGES}
    assert in_templates | literally | titles <= keys
    # A template names some texts by texts["key"], or by the value of a variable.
    python = "".join(path.read_text() for path in FOLDER.glob("*.py"))
    quoted = set(re.findall(r"[\"'](\w+)[\"']", templates + scripts + python))
    assert in_templates | titles | (quoted & keys) == keys
