"""Retention: old rows are deleted again and again, whatever becomes of one step."""

import logging
from collections.abc import Iterator

import pytest

from api.database.backoff import Backoff
from api.database.errors import Conflict, Unavailable
from api.drops.retention import Retention, RetentionTimes
from tests.patience import until

OFTEN = RetentionTimes(interval=0.001, backoff=Backoff(base=0.001, cap=0.001))


async def test_old_rows_are_deleted_in_spite_of_failures(caplog: pytest.LogCaptureFixture) -> None:
    steps = 0
    failures: Iterator[Exception | None] = iter(
        (None, Conflict("too late"), Unavailable("away"), ValueError("a defect"), None, Unavailable("away"))
    )

    async def delete() -> bool:
        nonlocal steps
        steps += 1
        failure = next(failures, None)
        if failure is not None:
            raise failure
        return False

    retention = Retention("activity", delete, OFTEN)
    with caplog.at_level(logging.WARNING, "dropzero.activity"):
        retention.start()
        await until(lambda: steps > 8)
        await retention.close()

    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert all(message.startswith("old activity cannot be deleted yet: away") for message in messages)
