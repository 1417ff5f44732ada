"""What an image is by its content: its format and its size, as browsers show it."""

import random

import pytest

from api.images.formats import InvalidImage, Measured
from tests.images.pictures import AVIF, JPEG, LOSSY_WEBP, PNG, UPRIGHT_JPEG, WEBP

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("content", "measured"),
    [
        (PNG, Measured("png", 3, 2)),
        (JPEG, Measured("jpg", 3, 2)),
        (UPRIGHT_JPEG, Measured("jpg", 2, 3)),
        (WEBP, Measured("webp", 3, 2)),
        (LOSSY_WEBP, Measured("webp", 3, 2)),
        (AVIF, Measured("avif", 3, 2)),
    ],
    ids=["png", "jpeg", "upright jpeg", "webp", "lossy webp", "avif"],
)
def test_an_image_is_measured_by_its_content(content: bytes, measured: Measured) -> None:
    assert Measured.of(content) == measured


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "send an image as PNG, JPEG, WebP or AVIF$"),
        (b"GIF89a\x03\x00\x02\x00\x00\x00\x00;", "send an image as PNG, JPEG, WebP or AVIF$"),
        (b"<!doctype html><script>alert(1)</script>", "send an image as PNG"),
        (SVG, "an SVG file can have scripts"),
        (b'<?xml version="1.0"?>\n' + SVG, "an SVG file can have scripts"),
        (PNG[:16], "damaged; send a whole PNG"),
        (JPEG[:30], "damaged"),
        (WEBP[:20], "damaged"),
        (AVIF[:100], "damaged"),
        (PNG[:16] + bytes.fromhex("00004e21 00000001") + PNG[24:], "has 20001 x 1 pixels; send one of at most 20000"),
        (PNG[:16] + bytes.fromhex("00002000 00002000") + PNG[24:], "has 8192 x 8192 pixels; send one of at most"),
        (PNG[:16] + bytes(8) + PNG[24:], "damaged"),
    ],
)
def test_what_pages_cannot_show_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(InvalidImage, match=message):
        Measured.of(content)


@pytest.mark.parametrize(
    "content",
    [PNG, JPEG, UPRIGHT_JPEG, WEBP, LOSSY_WEBP, AVIF],
    ids=["png", "jpeg", "upright jpeg", "webp", "lossy webp", "avif"],
)
def test_a_damaged_image_has_a_size_or_is_refused(content: bytes) -> None:
    """And nothing else: no other error becomes an answer 500."""
    chance = random.Random(7)  # noqa: S311 - the damage of a test
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            measured = Measured.of(bytes(damaged[: chance.randint(1, len(damaged))]))
        except InvalidImage:
            continue
        assert measured.width * measured.height > 0
