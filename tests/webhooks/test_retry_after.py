"""Retry-After: seconds or a date, within bounds, and never an error."""

from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api.webhooks.retry_after import MAX_RETRY_AFTER, parse_retry_after

NOW = datetime(2026, 11, 26, 10, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("999999999999", MAX_RETRY_AFTER),
        ("Thu, 26 Nov 2026 10:02:00 GMT", 120),
        ("Thu, 26 Nov 2026 12:02:00 +0200", 120),
        ("Thu, 26 Nov 2026 10:02:00 -0000", 120),
        ("Thursday, 26-Nov-26 10:02:00 GMT", 120),
        ("Thu, 26 Nov 2026 09:00:00 GMT", 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", MAX_RETRY_AFTER),
    ],
)
def test_seconds_and_dates_are_read_within_bounds(text: str, seconds: float) -> None:
    assert parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5", "1.5", "1e3", "٣", "9" * 5000, "Thu, 99 Nov 2026 10:02:00 GMT"])
def test_anything_else_is_as_if_it_were_not_there(text: str) -> None:
    assert parse_retry_after(text, NOW) is None


@settings(suppress_health_check=[HealthCheck.too_slow])  # on a machine that is busy
@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ [+-]?\w+"))
@example("Thu, 26 Nov 99999999999999999999 10:02:00 GMT")
@example("Thu, 26 Nov 2026 10:02:00 +99999999999999")
@example("Thu, 26 Nov 0001 00:00:00 +2359")
def test_no_text_of_a_receiver_is_an_error(text: str) -> None:
    seconds = parse_retry_after(text, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER
