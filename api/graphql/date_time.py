"""The scalar DateTime: a moment, as RFC 3339 and the specification of SPECIFICATION have it."""

import re
from datetime import datetime

import strawberry
from graphql import GraphQLError

SPECIFICATION = "https://scalars.graphql.org/chillicream/date-time.html"
"""Up to nine digits of a second, `Z` or an offset of hours and minutes, and `t` and `z` in either case."""

_HOURS, _SIXTY = "(?:[01][0-9]|2[0-3])", "[0-5][0-9]"
_RFC_3339 = re.compile(
    rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}[Tt]{_HOURS}:{_SIXTY}:{_SIXTY}(?:\.[0-9]{{1,9}})?(?:[Zz]|[+-]{_HOURS}:{_SIXTY})"
)
"""`datetime.fromisoformat` alone accepts much more of ISO 8601, such as weeks, blanks, and other separators."""


def _parse(value: object) -> datetime:
    """The moment in an input value, cut to the microsecond. Raises GraphQLError, with an example, for any other
    value."""
    if isinstance(value, str) and _RFC_3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:  # such as 30 February
            pass
    raise GraphQLError(f"a DateTime must be like 2026-12-01T10:00:00Z, with a UTC offset, not {str(value)[:50]!r}")


DATE_TIME = strawberry.scalar(
    name="DateTime",
    description="A moment: RFC 3339 with a UTC offset, such as 2026-12-01T10:00:00Z or 2026-12-01T19:00:00+09:00. "
    "It is kept to the microsecond: further digits of an input are cut.",
    specified_by_url=SPECIFICATION,
    serialize=datetime.isoformat,
    parse_value=_parse,
)
