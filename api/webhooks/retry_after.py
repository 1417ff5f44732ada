"""The header Retry-After (RFC 9110, section 10.2.3)."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MAX_RETRY_AFTER = 3600.0
"""Seconds. A receiver that names a later moment, by mistake or not, would keep events back that it could take again.
One request in an hour is no load."""


def parse_retry_after(text: str, now: datetime) -> float | None:
    """The seconds that a receiver wants to be left alone, from 0 to MAX_RETRY_AFTER. None for a text that has neither
    seconds nor a date."""
    if re.fullmatch(r"[0-9]{1,19}", text):
        seconds = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        if moment.tzinfo is None:  # "-0000": UTC, from a clock that knows no zone
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)
