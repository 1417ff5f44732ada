"""The scalar DateTime: a moment, as ISO 8601 with a UTC offset."""

from datetime import datetime

import strawberry
from graphql import GraphQLError


def _parse(value: object) -> datetime:
    """The moment in an input value. Raises GraphQLError, with an example, for any other value."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            if moment.tzinfo is not None:
                return moment
    raise GraphQLError(f"a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset, not {str(value)[:50]!r}")


DATE_TIME = strawberry.scalar(
    name="DateTime",
    description="A moment: ISO 8601 with a UTC offset, such as 2026-12-01T10:00:00Z or 2026-12-01T19:00:00+09:00.",
    specified_by_url="https://scalars.graphql.org/andimarek/date-time",
    serialize=datetime.isoformat,
    parse_value=_parse,
)
