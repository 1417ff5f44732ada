"""The scalar DateTime meets the specification that its @specifiedBy names, by that specification's own examples."""

from datetime import UTC, datetime, timedelta, timezone
from typing import cast

import pytest
from graphql import GraphQLError, GraphQLScalarType, GraphQLSchema

from api.graphql.date_time import SPECIFICATION

HALF_PAST_THREE = datetime(2023, 12, 24, 15, 30, tzinfo=UTC)
FIVE_HOURS, ONE_HOUR = timedelta(hours=5), timedelta(hours=1)

VALID = {
    "2023-12-24T15:30:00Z": HALF_PAST_THREE,
    "2023-12-24t15:30:00z": HALF_PAST_THREE,
    "2023-12-24T15:30:00+00:00": HALF_PAST_THREE,
    "2023-12-24T15:30:00-00:00": HALF_PAST_THREE,
    "2023-12-24T15:30:00-05:00": HALF_PAST_THREE + FIVE_HOURS,
    "2023-12-24T15:30:00.1Z": HALF_PAST_THREE.replace(microsecond=100_000),
    "2023-12-24T15:30:00.123Z": HALF_PAST_THREE.replace(microsecond=123_000),
    "2023-12-24T15:30:00.123456789+01:00": HALF_PAST_THREE.replace(microsecond=123_456) - ONE_HOUR,
    "2023-12-24T15:30:00+23:59": HALF_PAST_THREE - timedelta(hours=23, minutes=59),
}

INVALID = [
    *("2023-12-24T15:30:00", "2023-12-24 15:30:00Z", "2023-12-24", "15:30:00Z", "2023-13-01T00:00:00Z"),
    *("2023-12-32T00:00:00Z", "2023-12-24T15:30:00.1234567890Z", "2023-12-24T24:00:00Z", "2023-02-30T15:30:00Z"),
    *("2023-12-24T15:30:00+24:00", "2023-12-24T15:60:00Z", "2023-12-24T15:30:00+25:00", "2023-12-24T15:30:00 UTC"),
    # What Python's own reading of ISO 8601 accepts beyond it.
    *("2023-12-24T15:30:00+0100", "2023-12-24T15:30:00-03", "2023-12-24T15:30:00+03:30:15", "20231224T153000Z"),
    *("2023-W51-7T15:30:00Z", "2023-12-24x15:30:00Z", "2023-12-24T15:30Z", "2023-12-24T15:30:00.Z"),
    *("2023-12-24T15:30:00,123Z", "２023-12-24T15:30:00Z", "2023-12-24T15:30:00Z\n", "2023-12-24T15:30:60Z"),
    1_703_431_800,
    True,
]


@pytest.fixture(scope="module")
def date_time(schema: GraphQLSchema) -> GraphQLScalarType:
    return cast("GraphQLScalarType", schema.type_map["DateTime"])


def test_the_specification_is_named(date_time: GraphQLScalarType) -> None:
    assert date_time.specified_by_url == SPECIFICATION


@pytest.mark.parametrize("text", VALID)
def test_a_valid_input_is_its_moment_to_the_microsecond(date_time: GraphQLScalarType, text: str) -> None:
    assert date_time.coerce_input_value(text) == VALID[text]


@pytest.mark.parametrize("value", INVALID)
def test_an_invalid_input_is_refused(date_time: GraphQLScalarType, value: object) -> None:
    with pytest.raises(GraphQLError, match="a DateTime must be like 2026-12-01T10:00:00Z"):
        date_time.coerce_input_value(value)


@pytest.mark.parametrize("moment", VALID.values())
def test_a_result_is_a_valid_input(date_time: GraphQLScalarType, moment: datetime) -> None:
    for zone in (UTC, timezone(-FIVE_HOURS), timezone(timedelta(hours=5, minutes=45))):
        assert date_time.coerce_input_value(date_time.coerce_output_value(moment.astimezone(zone))) == moment
