"""What a shop shows of a product: what is refused with which words, and what readers of each language get."""

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from api.drops.details import (
    MAX_DESCRIPTIONS,
    MAX_DETAILS,
    MAX_IMAGES,
    MAX_SIDE,
    MAX_URL,
    Description,
    Image,
    Price,
    checked_descriptions,
    checked_images,
    decode_descriptions,
    decode_images,
    described_in,
    encode_details,
)
from api.drops.errors import InvalidInput
from api.drops.limits import MAX_DESCRIPTION

HTTPS = "https://shop.example/tee.webp"
price = partial(Price.checked, "price")
image = partial(Image.checked, "images.0")
description = partial(Description.checked, "descriptions.0")


def pictures(count: int, alt: str = "tee") -> list[Image]:
    return [Image(HTTPS, alt, 1, 1)] * count


def texts(*languages: str, text: str = "tee") -> list[Description]:
    return [Description(language, text) for language in languages]


@pytest.mark.parametrize("amount", ["0", "0.5", "48.00", "1234567890.125"])
def test_a_price_is_kept_as_it_was_written(amount: str) -> None:
    assert Price.of(str(price(amount, "JPY"))) == Price(amount, "JPY")


@pytest.mark.parametrize(
    "amount", ["", "-1", "+1", "1,00", "01", ".5", "5.", "1.2345", "12345678901", "1e3", "NaN", "٤", " 1"]
)
def test_an_amount_that_is_no_plain_number_is_refused(amount: str) -> None:
    with pytest.raises(InvalidInput, match=r"^price\.amount must be a number such as 48\.00, not "):
        price(amount, "EUR")


@pytest.mark.parametrize("currency", ["", "eur", "EU", "EURO", "€", "EUR "])
def test_a_currency_that_is_no_code_is_refused(currency: str) -> None:
    with pytest.raises(InvalidInput, match=r"^price\.currency must be a code of ISO 4217 such as EUR, not "):
        price("48.00", currency)


@pytest.mark.parametrize(
    "url",
    [
        HTTPS,
        "https://shop.example:8443/tee.webp?w=800&h=1000#top",
        "https://[2001:db8::1]/tee.webp",
        "https://shop.example/" + "a" * (MAX_URL - 21),
        "/images/0d50.webp",
        "/static/tee.svg",
    ],
)
def test_an_image_is_of_https_or_a_file_of_this_server(url: str) -> None:
    assert image(url, "A tee", 1, MAX_SIDE) == Image(url, "A tee", 1, MAX_SIDE)


@pytest.mark.parametrize(
    "url",
    [
        *("", "tee.webp", "http://shop.example/tee.webp", "javascript:alert(1)", "data:image/png;base64,AA"),
        *("//shop.example/tee.webp", "https://", "https:///tee.webp", "https://[/tee.webp", "HTTPS://shop.example/"),
        *('https://shop.example/"onload=', "https://shop.example/a b", "https://shop.example/tée.webp"),
        *("/images/", "/images/../graphql", "/images/a/b", "/images/.hidden", "/graphql", "/static/tee.svg?x"),
        "https://shop.example/" + "a" * (MAX_URL - 20),
    ],
)
def test_an_image_of_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput, match=r"^images\.0\.url must be like https://shop\.example/tee\.webp, or "):
        image(url, "A tee", 1, 1)


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (partial(image, HTTPS, "", 1, 1), r"images\.0\.alt must have 1 to 200 characters"),
        (partial(image, HTTPS, "a\nb", 1, 1), r"images\.0\.alt must not have the character U\+000A"),
        (partial(image, HTTPS, "tee", 0, 1), rf"images\.0\.width must be between 1 and {MAX_SIDE} pixels, not 0"),
        (partial(image, HTTPS, "tee", 1, MAX_SIDE + 1), r"images\.0\.height must be between 1 and "),
        (partial(description, "deutsch!", "Tee"), r"descriptions\.0\.language must be a tag of BCP 47 such as pt-BR"),
        (partial(description, "", "Tee"), r"descriptions\.0\.language must be"),
        (partial(description, "de", ""), r"descriptions\.0\.text must have 1 to"),
        (partial(description, "de", "a" * (MAX_DESCRIPTION + 1)), r"descriptions\.0\.text must have 1 to"),
        (
            partial(checked_images, "images", pictures(MAX_IMAGES + 1)),
            f"images must have at most {MAX_IMAGES} images, not",
        ),
        (
            partial(checked_descriptions, "descriptions", texts(*(f"aa-{n:02}" for n in range(MAX_DESCRIPTIONS + 1)))),
            f"descriptions must have at most {MAX_DESCRIPTIONS} languages, not {MAX_DESCRIPTIONS + 1}",
        ),
        (
            partial(checked_descriptions, "descriptions", texts("pt-BR", "de", "PT-br")),
            "descriptions must have each language once, not 'pt-br' twice",
        ),
        (
            partial(checked_descriptions, "descriptions", texts("de", "fr", text="a" * (MAX_DETAILS // 2))),
            f"descriptions must have at most {MAX_DETAILS} characters together, as JSON, not ",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_with_its_field(check: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{message}"):
        check()


def test_details_are_read_as_they_were_stored() -> None:
    images = checked_images("images", [Image(HTTPS, 'A "tée" \u2028', 800, 1000), Image("/images/b.png", "b", 1, 1)])
    descriptions = checked_descriptions("descriptions", texts("ja", "pt-BR", text="オーロラ\n2"))
    assert decode_images(encode_details(images)) == images
    assert decode_descriptions(encode_details(descriptions)) == descriptions
    assert encode_details(()) is None
    assert (decode_images(None), decode_descriptions(None)) == ((), ())


@pytest.mark.parametrize(
    ("language", "languages", "shown"),
    [
        (None, ["de"], "default"),
        ("", ["de"], "default"),
        ("de", ["fr", "de"], "de"),
        ("DE", ["de"], "de"),
        ("de-AT", ["fr", "de"], "de"),
        ("pt", ["pt-PT", "pt-BR"], "pt-PT"),
        ("pt-BR", ["pt-PT", "pt-BR"], "pt-BR"),
        ("pt-AO", ["pt-BR"], "pt-BR"),
        ("pt", ["ptx"], "default"),
        ("ja", [], "default"),
    ],
)
def test_a_reader_gets_the_text_in_the_nearest_form_of_the_language(
    language: str | None, languages: Sequence[str], shown: str
) -> None:
    each = [Description(tag, tag) for tag in languages]
    assert described_in(language, each, "default") == shown
