"""docs/frontend.md: its codes and its numbers are those of the code."""

import re
from pathlib import Path

from api.drops.limits import MAX_TEXT
from api.drops.stock import MAX_WATCHED
from api.graphql.cost import LONG, MAX_COST, MAX_ROWS
from api.graphql.document_limits import MAX_DEPTH, MAX_FIELDS, MAX_OPERATIONS, MAX_ROOT_FIELDS, MAX_SAME
from api.graphql.errors import ErrorCode
from api.graphql.requests import MAX_BODY
from api.graphql.validation import MAX_LENGTH, MAX_TOKENS, MAX_TOKENS_AT_ONCE
from api.graphql.watching import MAX_OPERATIONS as MAX_OPERATIONS_AT_A_TIME
from api.refusal import MAX_TARGET
from api.server import MAX_MESSAGE

PAGE = (Path(__file__).parent.parent / "docs" / "frontend.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_page_has_every_code_of_errors_and_no_other() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| \S.* \| \S.* \|$", section("Errors"), re.M)
    assert sorted(rows) == sorted(ErrorCode)


def test_the_limits_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \| (.+) \|$", section("Limits"), re.M)
    assert [int(number.replace(",", "")) for _, number, _ in rows] == [
        MAX_LENGTH,
        MAX_TOKENS,
        MAX_TOKENS_AT_ONCE,
        MAX_OPERATIONS,
        MAX_DEPTH,
        MAX_FIELDS,
        MAX_ROOT_FIELDS,
        MAX_SAME,
        MAX_COST,
        MAX_ROWS,
        MAX_WATCHED,
        MAX_OPERATIONS_AT_A_TIME,
        MAX_TEXT,
        MAX_BODY,
        MAX_TARGET,
        MAX_MESSAGE,
    ]
    assert f"`description` counts as {LONG['cost']}" in section("Limits")
    codes = {code for _, _, past in rows for code in re.findall(r"`(\w+)`", past)}
    assert codes <= set(ErrorCode)
