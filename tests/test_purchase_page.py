"""docs/purchase.md: the walk of a purchase through the code, compared with the calls of a real purchase."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

import api
from tests.server import Server

ROOT = Path(api.__file__).parent.parent
PAGE = (ROOT / "docs" / "purchase.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\| (\d+) \| `(api/[^`]+)` \| `([^`]+)` \|", PAGE, re.MULTILINE)
FILES = sorted(set(re.findall(r"`(api/[^`]+\.py)`", PAGE)))
NAMES = sorted(set(re.findall(r"`(_?[A-Za-z]\w+(?:\.\w+)?)`", PAGE)))


@contextmanager
def calls() -> Iterator[list[tuple[str, str]]]:
    """The functions of ours that this thread calls in the block, by file and name, in the order of their first call."""
    seen: dict[tuple[str, str], None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(ROOT / "api"):
            seen[path.relative_to(ROOT).as_posix(), frame.f_code.co_qualname] = None

    found: list[tuple[str, str]] = []
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)
        found += seen


async def test_a_purchase_calls_the_functions_of_the_page_in_their_order(server: Server) -> None:
    product_id = await server.create_product(stock=2)
    await server.purchase(product_id, "bob")  # the document is parsed and the product known from here on

    with calls() as called:
        outcome = await server.purchase(product_id, "ada")

    assert outcome["status"] == "CONFIRMED"
    assert [int(number) for number, _, _ in STEPS] == list(range(1, len(STEPS) + 1))
    steps = [(file, name) for _, file, name in STEPS]
    assert [step for step in steps if step not in called] == []
    assert sorted(steps, key=called.index) == steps


@pytest.mark.parametrize("file", FILES)
def test_each_file_exists(file: str) -> None:
    assert (ROOT / file).is_file()


def test_each_name_is_one_of_the_code() -> None:
    """A class, a function, or a method of a class; GraphQL's names are in the schema."""
    files = [*(ROOT / "api").rglob("*.py"), ROOT / "schema.graphql"]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files)
    made = re.findall(r"\b(?:class|def|type|interface|mutation) (\w+)\b|^  (\w+)\(", code, re.MULTILINE)
    names = {name for found in made for name in found}
    assert [name for name in NAMES if not names.issuperset(name.split("."))] == []
