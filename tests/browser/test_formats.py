"""The same texts from the server and from the browser, in every language, and dates as in the reader's country."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.async_api import Browser

from api.storefront.formats import Formats
from api.storefront.languages import LANGUAGES
from api.storefront.pages import read_messages
from tests.server import Server

pytestmark = pytest.mark.browser

NUMBERS = (0, 1, 2, 5, 11, 100, 1241, 12_345, 1_000_000, 1_200_000)
PRICES = (("48.00", "EUR"), ("4800", "JPY"), ("0.50", "USD"), ("1234.5", "KWD"), ("12345678901234567.89", "BRL"))
LENGTHS = (90, 600, 3600)
PLURALS = ("answer_left", "opens_in_days", "units", "announce_left")
ZONE = "Asia/Seoul"
"""No language has a name of its own for its time, so that the offset from UTC is shown."""

FORMATTED = """
async ([numbers, prices, lengths, moments, plurals]) => {
  const locale = await import("/static/locale.js");
  return {
    numbers: numbers.map((number) => locale.number(number)),
    prices: prices.map(([amount, currency]) => locale.price({ amount, currency })),
    lengths: lengths.map((seconds) => locale.duration(seconds)),
    moments: moments.map((moment) => locale.moment(moment)),
    plurals: plurals.flatMap((key) => numbers.map((count) => locale.text(key, { count, name: "Tee" }))),
  };
}
"""


def formatted(language: str, moments: list[datetime]) -> dict[str, list[str]]:
    """What the server makes of the values."""
    formats = Formats(language)
    messages = read_messages(language)
    now = datetime.now(UTC)
    return {
        "numbers": [formats.number(number) for number in NUMBERS],
        "prices": [formats.price(*price) for price in PRICES],
        "lengths": [formats.duration(seconds) for seconds in LENGTHS],
        "moments": [formats.moment(moment, ZoneInfo(ZONE), now=now) for moment in moments],
        "plurals": [formats.text(messages[key], count=number, name="Tee") for key in PLURALS for number in NUMBERS],
    }


async def test_the_server_writes_what_the_browser_writes(server: Server, browser: Browser) -> None:
    now = datetime.now(UTC)
    moments = [now, now + timedelta(days=3, hours=11), now + timedelta(days=400)]
    values: list[Any] = [NUMBERS, PRICES, LENGTHS, [moment.isoformat() for moment in moments], PLURALS]
    product_id = await server.create_product()
    async with await browser.new_context(timezone_id=ZONE, locale="en-US") as context:
        page = await context.new_page()
        for language in LANGUAGES:
            await page.goto(f"{server.url}/drop/{product_id}?lang={language}")
            assert await page.evaluate(FORMATTED, values) == formatted(language, moments)


def test_a_moment_of_the_server_is_in_utc_unless_it_is_given_a_zone() -> None:
    at = datetime(2026, 12, 5, 18, 4, tzinfo=UTC)
    assert Formats("en").moment(at, now=at) == "Saturday, December 5 at 6:04 PM UTC"
    assert Formats("fr").moment(at, ZoneInfo("America/St_Johns"), now=at) == "samedi 5 décembre à 14:34 UTC−3:30"


@pytest.mark.parametrize(
    ("reader", "page_language", "shown"),
    [
        ("en-GB", "en", "Thursday, 5 December 2030 at 18:04 UTC"),
        ("es-MX", "es", "jueves, 5 de diciembre de 2030, 6:04 p.m. UTC"),
        ("ar-EG", "ar", "الخميس، 5 ديسمبر 2030 في 6:04 م UTC"),
        ("zh-TW", "zh-Hans", "2030年12月5日星期四 UTC 18:04"),
    ],
)
async def test_a_date_is_written_as_in_the_readers_country(
    server: Server, browser: Browser, reader: str, page_language: str, shown: str
) -> None:
    async with await browser.new_context(timezone_id="UTC", locale=reader) as context:
        page = await context.new_page()
        await page.goto(f"{server.url}/none?lang={page_language}")
        moment = "async () => (await import('/static/locale.js')).moment('2030-12-05T18:04:00Z')"
        assert (await page.evaluate(moment)).replace("\u00a0", " ") == shown
