"""Numbers, prices, moments and texts as a language writes them, for pages that the server renders.

Each equals what the module locale.js makes of the same value with the browser's Intl: the modules take over a page that
the server has rendered, and nothing in it may change by that.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import ROUND_HALF_UP, Decimal, localcontext

from babel import Locale
from babel.dates import format_date, format_time
from babel.numbers import format_currency, format_decimal
from babel.units import format_unit

_DAYS = {
    "en": "EEEE, MMMM d",
    "ja": "M月d日EEEE",
    "zh-Hans": "M月d日EEEE",
    "ko": "MMMM d일 EEEE",
    "es": "EEEE, d 'de' MMMM",
    "fr": "EEEE d MMMM",
    "pt-BR": "EEEE, d 'de' MMMM",
    "ar": "EEEE، d MMMM",
}
"""CLDR's full dates without their year (Unicode TR 35, part 4, "Date Format Patterns")."""

_MOMENTS = {
    "en": "{day} at {time} {zone}",
    "ja": "{day} {time} {zone}",
    "zh-Hans": "{day} {zone} {time}",
    "ko": "{day} {time} {zone}",
    "es": "{day}, {time} {zone}",
    "fr": "{day} à {time} {zone}",
    "pt-BR": "{day} às {time} {zone}",
    "ar": "{day} في {time} {zone}",
}
"""CLDR's joints of a date and a time. Babel has only those for lists of both."""

_GREENWICH = {"fr": ("UTC", "−"), "ar": ("غرينتش", "-")}
"""What a zone's offset follows, and its minus sign; elsewhere GMT and a hyphen."""

_GROUPED_FROM = {"es": 10_000}
"""The least number with a separator of thousands, from CLDR's minimumGroupingDigits, which Babel disregards."""

_UNITS = (("hour", 3600), ("minute", 60), ("second", 1))
"""Units of time, and their lengths in seconds."""

_LETTER_BEFORE_DIGIT = re.compile(r"(?<=[^\W\d_])(?=\d)")
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Formats:
    """How one of the storefront's languages writes numbers, prices, moments and texts."""

    def __init__(self, language: str) -> None:
        """`language` is a tag of LANGUAGES. Reads the language's data from disk, which takes up to 60 ms."""
        self._language = language
        self._locale = Locale.parse(language, sep="-")
        self._grouped_from = _GROUPED_FROM.get(language, 0)
        # Babel reads the data of a language when it is first used, which must not be in a request.
        self.price("0.00", "USD")

    def number(self, value: float) -> str:
        return format_decimal(value, locale=self._locale, group_separator=abs(value) >= self._grouped_from)

    def price(self, amount: str, currency: str) -> str:
        """Return a price with as many decimals as its currency has. `amount` is a decimal number such as "48.00", and
        `currency` a code of ISO 4217."""
        value = Decimal(amount)
        grouped = abs(value) >= self._grouped_from
        with localcontext(rounding=ROUND_HALF_UP):  # as Intl does; Babel takes the context's
            text = format_currency(value, currency, locale=self._locale, group_separator=grouped)
        # CLDR's currencySpacing: a code keeps apart from its amount, and a sign does not.
        return _LETTER_BEFORE_DIGIT.sub("\u00a0", text)

    def moment(self, at: datetime, zone: tzinfo = UTC, *, now: datetime) -> str:
        """Return a moment in a time zone, which it names: the weekday, day, month and time, and the year if it is not
        that of `now`."""
        there = at.astimezone(zone)
        pattern = _DAYS[self._language] if there.year == now.astimezone(zone).year else "full"
        return _MOMENTS[self._language].format(
            day=format_date(there, pattern, locale=self._locale),
            time=format_time(there, "short", tzinfo=zone, locale=self._locale).replace("\u202f", " "),
            zone=self._zone(there.utcoffset() or timedelta()),
        )

    def duration(self, seconds: int) -> str:
        """Return a length of time in words, in the largest unit up to hours that it is a whole number of."""
        unit, length = next((unit, length) for unit, length in _UNITS if seconds % length == 0)
        return format_unit(seconds // length, f"duration-{unit}", "long", locale=self._locale)

    def plural(self, message: Mapping[str, str], count: int) -> str:
        """Return the form of a text for this count. The form `zero`, if there is one, is for 0 in every language."""
        return message["zero" if count == 0 and "zero" in message else self._locale.plural_form(count)]

    def text(self, message: str | Mapping[str, str], **values: str | int) -> str:
        """Return a text with its values in it. Numbers are formatted. Where the text has plural forms, `count` chooses
        one of them."""
        form = message if isinstance(message, str) else self.plural(message, int(values["count"]))

        def value(found: re.Match[str]) -> str:
            value = values[found[1]]
            return value if isinstance(value, str) else self.number(value)

        return _PLACEHOLDER.sub(value, form)

    def _zone(self, offset: timedelta) -> str:
        """The name of a time zone with this offset from UTC."""
        if not offset:
            return "UTC"
        name, minus = _GREENWICH.get(self._language, ("GMT", "-"))
        hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
        return f"{name}{minus if offset < timedelta() else '+'}{hours}{f':{minutes:02}' if minutes else ''}"
