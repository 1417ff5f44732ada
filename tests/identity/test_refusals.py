"""Refusals are counted, and logged once an interval."""

import logging

import pytest

from api.identity.refusals import Refusals
from tests.patience import short, until


async def test_the_first_refusal_of_a_kind_is_logged_at_once_and_the_others_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refusals = Refusals(interval=short(0.2))
    with caplog.at_level(logging.WARNING, "dropzero.refusals"):
        refusals.count("a wrong token", "192.0.2.1", "x\x1b[31m")
        for _ in range(5):
            refusals.count("a wrong token", "192.0.2.2")
        refusals.count("a wrong token", "192.0.2.3")
        assert caplog.messages == ["refused a wrong token from 192.0.2.1 ('x\\x1b[31m'); more are logged once a minute"]

        await until(lambda: len(caplog.messages) > 1)

    refusals.close()
    assert caplog.messages[1:] == ["refused a wrong token 6 times, 5 of them from 192.0.2.2"]
    assert refusals.counts == {"a wrong token": 7}


async def test_close_logs_the_refusals_since_the_last_line(caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals()
    with caplog.at_level(logging.WARNING, "dropzero.refusals"):
        for _ in range(3):
            refusals.count("a bad request", "192.0.2.1")
        refusals.count("a wrong token", "192.0.2.1")
        refusals.close()

    assert len(caplog.messages) == 3
    assert caplog.messages[-1] == "refused a bad request 2 times, 2 of them from 192.0.2.1"
