"""Texts from requests: texts that look the same get one form, and invisible characters are refused."""

import unicodedata
from collections.abc import Callable
from uuid import UUID

import pytest

from api.drops.errors import InvalidInput
from api.drops.limits import checked_name, checked_text
from api.drops.requests import Purchase

BOTH = pytest.mark.parametrize("checked", [checked_text, checked_name])
ZWNJ, ZWJ = "\u200c", "\u200d"

Checked = Callable[[str, str], str]


def refusal(checked: Checked, text: str) -> str:
    with pytest.raises(InvalidInput) as refused:
        checked("it", text)
    return str(refused.value)


@BOTH
@pytest.mark.parametrize(
    "text", ["ada", "6f1c0d0e-3c57-4c5a-9d57-0d8f4c1b2a3e", "a  b", "~!@#$%^&*()_+{}|:<>?", "x" * 200]
)
def test_printable_ascii_stays_as_it_is(checked: Checked, text: str) -> None:
    assert checked("it", text) == text


def test_the_order_under_a_key_of_ascii_keeps_its_id() -> None:
    product_id = UUID("45f33033-1e1c-4ca3-aaf8-60a96cab7c81")
    user_ref, key = checked_text("userRef", "ada  lovelace~1"), checked_text("idempotencyKey", "k 1")
    purchase = Purchase.checked(product_id=product_id, user_ref=user_ref, quantity=1, idempotency_key=key)
    assert purchase.order_id == UUID("fc67d86e-3bd4-5333-bc8c-3e74f1ca992f")


@pytest.mark.parametrize(
    "text",
    [
        "\uff41\uff44\uff41",
        " ada",
        "ada ",
        "ada\u00a0",
        "\u3000ada",
        "\u2003ada\u2009",
        "\U0001d41a\U0001d41d\U0001d41a",
        "\u24d0d\u2090",
    ],
)
def test_texts_that_look_like_one_buyer_are_that_buyer(text: str) -> None:
    assert checked_text("userRef", text) == "ada"


def test_one_accent_in_two_forms_is_one_text() -> None:
    for checked in (checked_text, checked_name):
        assert checked("it", "Ame\u0301lie") == checked("it", "Am\u00e9lie") == "Am\u00e9lie"


@BOTH
@pytest.mark.parametrize(
    "character",
    [
        *(
            "\0",
            "\t",
            "\n",
            "\x1b",
            "\x7f",
            "\x85",
            "\x9b",
            "\u2028",
            "\u2029",
            "\ud800",
            "\udfff",
            "\ue000",
            "\U0010ffff",
        ),
        *("\u00ad", "\u061c", "\u200b", "\u200e", "\u200f", "\u202a", "\u202e", "\u2060", "\u2066", "\u2069", "\ufeff"),
        *("\ufff9", "\U0001d173", "\U000e0001", "\U000e0041", "\U000e007f", "\u034f", "\u115f", "\u1160", "\u17b4"),
        *("\u3164", "\uffa0", "\ufdd0", "\ufffe", "\U000f0000", "\u206a", "\u180e"),
    ],
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_an_invisible_character_is_refused_in_any_position(checked: Checked, character: str) -> None:
    for around in ("{}", "ada{}", "{}ada", "a{}b", "尺{}尺"):
        assert f"it must not have the character U+{ord(character):04X}" in refusal(checked, around.format(character))


@pytest.mark.parametrize("character", [ZWNJ, ZWJ, "\ufe0f", "\ufe00", "\U000e0100", "\u180b", "\u2800", "\u0378"])
def test_a_buyer_has_no_joiner_no_selector_and_no_unassigned_character(character: str) -> None:
    for text in (f"ada{character}", f"a{character}da", f"م{character}خ", f"❤{character}"):
        assert "it must not have the character U+" in refusal(checked_text, text)


@BOTH
@pytest.mark.parametrize("text", [" ", "   ", "\u00a0", "\u3000\u2003", "\u1680"])
def test_blanks_alone_are_refused(checked: Checked, text: str) -> None:
    assert refusal(checked, text) == "it must not be blank"


def test_a_name_of_braille_without_dots_is_blank() -> None:
    assert refusal(checked_name, "\u2800 \u2800") == "it must not be blank"


@pytest.mark.parametrize(
    "name",
    [
        f"می{ZWNJ}خواهم",
        f"क्{ZWJ}ष क्{ZWNJ}ष",
        f"ന്{ZWJ}",
        f"ශ්{ZWJ}රී",
        f"👩{ZWJ}💻 kit",
        f"👩🏽{ZWJ}🚀",
        f"❤\ufe0f{ZWJ}🔥",
        f"🏳\ufe0f{ZWJ}🌈",
        "1\ufe0f\u20e3 of 9",
        "葛\U000e0100",
        "Tee™ ½ №5 ①",
        "🩷",
        "עברית עם רווח",
        "Ελληνικά, Việt Nam, 日本語",
    ],
)
def test_a_name_keeps_the_joiners_and_selectors_that_its_language_or_emoji_needs(name: str) -> None:
    assert checked_name("name", f"  {name} ") == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"T{ZWJ}ee",
            f"Tee{ZWNJ}",
            f"{ZWJ}👩",
            f"👩{ZWJ}",
            f"👩{ZWJ}{ZWJ}💻",
            f"{ZWNJ}می",
            f"e{ZWNJ}ế",
            f"ế{ZWJ}ế",
            f"Т{ZWJ}и",
        ),
        *("\ufe0fTee", " \ufe0fTee", "T \ufe0f", "❤\ufe0f\ufe0f", "葛\U000e0100\U000e0101", f"👩{ZWJ}\ufe0f💻"),
    ],
)
def test_a_name_has_no_joiner_or_selector_without_effect(name: str) -> None:
    assert "at least not in this place" in refusal(checked_name, name)


@BOTH
def test_the_length_of_a_text_is_bounded_before_and_after_normalisation(checked: Checked) -> None:
    assert refusal(checked, "") == "it must have 1 to 200 characters, not 0"
    assert refusal(checked, "x" * 201) == "it must have 1 to 200 characters, not 201"
    assert refusal(checked, " " * 201) == "it must have 1 to 200 characters, not 201"
    assert (
        refusal(checked, "\u0958" * 101) == "it must have 1 to 200 characters, not 202"
    )  # two characters in either form
    with pytest.raises(InvalidInput, match="not 10000000"):
        checked("it", "\ufdfa" * 10_000_000)  # normalised, it would have 180 million characters


def test_a_text_that_grows_by_normalisation_is_bounded() -> None:
    assert len(checked_text("it", "\ufdfa" * 11)) == 198
    assert refusal(checked_text, "\ufdfa" * 12) == "it must have 1 to 200 characters, not 216"
    assert len(checked_name("it", "\ufdfa" * 200)) == 200


@BOTH
def test_a_text_that_was_checked_stays_as_it_is(checked: Checked) -> None:
    kept = 0
    for number in [*range(0x3000), *range(0xA000, 0x11000), *range(0x1D000, 0x1FB00)]:
        try:
            once = checked("it", f"a{chr(number)}b{chr(number)}")
        except InvalidInput:
            continue
        kept += 1
        assert checked("it", once) == once
    assert kept > 10_000
