"""What resolvers can do wrong, in every place and at every time: both executions send the same errors in one order."""

from collections.abc import Iterator
from itertools import islice, product

import pytest

from api.graphql.reference import PIECE
from tests.graphql.differential.comparison import both
from tests.graphql.differential.script import GOOD, Does, How, Plan
from tests.graphql.differential.values import EVERY_FAULT
from tests.graphql.differential.ways import Ways

LEAVES = (
    "int",
    "intN",
    "float",
    "string",
    "stringN",
    "boolean",
    "id",
    "idN",
    "color",
    "colorN",
    "stamp",
    "json",
    "about",
)
LISTS = ("numbers", "words", "colors", "matrix")
OBJECTS = (
    "item",
    "itemN",
    "items",
    "itemsN",
    "itemsNN",
    "node",
    "nodes",
    "either",
    "eithers",
    "plain",
    "plains",
    "grid",
)

ITEM_FAULTS = ("null", "raises", "refuses", "raises a GraphQL error", "returns an error", "text", "a list", "too large")

TYPE_FAULTS = ("raises", "refuses", "nothing", "a number", "unknown", "an interface", "not possible")

SIBLINGS = ("idN", "string", "stringN")
"""Fields of one object. An error of two of them removes the object."""

DEEDS = [Does(what, how) for what in (GOOD, "null", "raises") for how in How]


def selected(field: str) -> str:
    """The field, with a selection if it needs one."""
    if field in ("plain", "plains"):
        return f"{field} {{ text }}"
    return f"{field} {{ __typename ... on Node {{ int }} }}" if field in OBJECTS else field


@pytest.mark.parametrize("how", [How.NOW, How.WAITS])
@pytest.mark.parametrize("field", [*LEAVES, *LISTS, *OBJECTS])
def test_a_field_with_each_fault(synthetic: Ways, field: str, how: How) -> None:
    document = synthetic.prepare(f"{{ int\n item {{ id\n {selected(field)} string }} string }}")
    assert both(synthetic, document).response.keys() == {"data"}
    errors = 0
    for what in EVERY_FAULT:
        answer = both(synthetic, document, Plan({f"item/{field}": Does(what, how)}, length=2))
        errors += "errors" in answer.response
    assert errors >= (0 if field == "about" else 8)


@pytest.mark.parametrize("how", [How.NOW, How.WAITS])
@pytest.mark.parametrize("field", [*LISTS, "items", "itemsN", "itemsNN", "nodes", "eithers"])
def test_a_list_with_each_fault_in_an_item(synthetic: Ways, field: str, how: How) -> None:
    document = synthetic.prepare(f"{{ item {{ {selected(field)} }} {selected(field)} string }}")
    for what, length, place in product(ITEM_FAULTS, (2, PIECE + 1), (f"{field}/1", f"item/{field}/0")):
        if length <= PIECE or how is How.NOW:
            both(synthetic, document, Plan({place: Does(what, how)}, length=length))


def test_lists_in_lists_with_each_fault(synthetic: Ways) -> None:
    document = synthetic.prepare("{ matrix grid { int } item { matrix grid { intN } } }")
    for what, place in product(ITEM_FAULTS, ("matrix/1", "matrix/1/0", "grid/0", "grid/1/1", "item/grid/1/0/intN")):
        both(synthetic, document, Plan({place: Does(what)}, length=2))


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("field", ["node", "nodes", "either", "eithers", "item", "itemsNN"])
def test_each_wrong_answer_about_a_type(synthetic: Ways, field: str, how: How) -> None:
    document = synthetic.prepare(f"{{ int {selected(field)} string }}")
    place = f"{field}/1" if field in ("nodes", "eithers", "itemsNN") else field
    for what, seed in product(TYPE_FAULTS, range(4)):
        for question in ("type", "is"):
            both(synthetic, document, Plan({f"{place}~{question}": Does(what, how)}, seed, length=2))


def three_deeds() -> Iterator[tuple[Does, ...]]:
    """Everything that three fields can do, but not all three good."""
    return (deeds for deeds in product(DEEDS, repeat=3) if any(does.what != GOOD for does in deeds))


@pytest.mark.parametrize(
    "text",
    [
        "{ int item { idN string stringN } }",
        "{ idN string stringN }",
        "mutation { idN string stringN }",
        "mutation { item { idN string stringN } int }",
    ],
)
def test_siblings_that_fail_at_every_time(synthetic: Ways, text: str) -> None:
    document = synthetic.prepare(text)
    parent = "item/" if "item" in text else ""
    for number, deeds in enumerate(islice(three_deeds(), None, None, 1 if text.startswith("{ int") else 3)):
        fixed = {f"{parent}{name}": does for name, does in zip(SIBLINGS, deeds, strict=True)}
        both(synthetic, document, Plan(fixed, seed=number % 5))


@pytest.mark.parametrize("length", [2, PIECE + 1])
@pytest.mark.parametrize("field", ["items", "itemsN", "itemsNN"])
def test_items_whose_fields_fail_at_every_time(synthetic: Ways, field: str, length: int) -> None:
    document = synthetic.prepare(f"{{ {field} {{ string intN }} string }}")
    for number, (first, second) in enumerate(product(DEEDS, DEEDS)):
        other = DEEDS[number * 4 % 9]
        fixed = {f"{field}/0/intN": first, f"{field}/1/intN": second, f"{field}/1/string": other, "string": other}
        both(synthetic, document, Plan(fixed, seed=number % 5, length=length))


def test_errors_far_below_remove_what_is_above(synthetic: Ways) -> None:
    chain = "itemN { string itemN { string itemN { stringN string } } }"
    document = synthetic.prepare(f"{{ item {{ {chain} }} itemsNN {{ {chain} }} int }}")
    place = "itemN/itemN/itemN/stringN"
    for root, how in product(("item", "itemsNN/0", "itemsNN/1"), How):
        answer = both(synthetic, document, Plan({f"{root}/{place}": Does("raises", how)}, length=2))
        assert answer.response["errors"][0]["path"][-1] == "stringN"


def test_merged_fields_have_the_locations_of_all(synthetic: Ways) -> None:
    text = "{\n  item { a: string }\n  item {\n    a: string ...F }\n}\nfragment F on Item { a: string }"
    answer = both(synthetic, text, Plan({"item/a": Does("raises")}))

    [error] = answer.response["errors"]
    assert error["locations"] == [{"line": 2, "column": 10}, {"line": 4, "column": 5}, {"line": 6, "column": 22}]


@pytest.mark.parametrize("text", ["{ int string id }", "{ item { string } int }", "mutation { int string id }"])
def test_a_cancellation_is_not_an_error_of_a_field(synthetic: Ways, text: str) -> None:
    for place, how in product(("string", "item/string"), How):
        answer = both(synthetic, text, Plan({place: Does("is cancelled", how)}, length=2))
        cancelled = place.startswith("item") == ("item" in text)
        assert answer.body.startswith(b"CancelledError") == cancelled
