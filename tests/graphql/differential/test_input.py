"""Every kind of input value, right and wrong, alone in a variable: both executions accept and refuse the same."""

from typing import Any

import pytest

from tests.graphql.differential.comparison import both
from tests.graphql.differential.ways import Ways

ARGUMENTS = {
    "int": "Int",
    "intND": "Int!",
    "float": "Float",
    "flag": "Boolean",
    "id": "ID",
    "texts": "[String]",
    "numbers": "[Int!]",
    "color": "Color",
    "colors": "[Color!]",
    "stamp": "Stamp",
    "json": "Json",
    "filter": "Filter",
    "filters": "[Filter!]",
    "one": "One",
    "flat": "Flat",
}
"""The arguments of the field `echo`, and their types."""

FIELDS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "unknown")
"""The fields of the input object Flat, and one that it has not."""

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2**31 - 1, -(2**31), 2**31, -(2**31) - 1, 2**63, 10**400),
    *(0.0, -0.0, 1.0, 1.5, 1e300, float(2**31), "", "text", "1", "true", "RED", "OLD", "PINK", "red", "„ü\u2028"),
    *([], [None], [1], ["RED"], ["a", None], [1, "x"], [[1]], [{}], [{"n": 1}], [{"a": 1}, None]),
    *({}, {"n": 1}, {"a": 1}, {"x": 1}, {"n": None}, {"a": None}, {"n": 1, "unknown": 2}, {"a": 1, "unknown": 2}),
    *({"number": 1}, {"text": None}, {"number": 1, "text": "t"}, {"filter": {"n": 1}}, {"y": ["RED"]}, {"z": ""}),
]


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_each_value_of_a_variable(synthetic: Ways, argument: str) -> None:
    document = synthetic.prepare(f"query ($v: {ARGUMENTS[argument]}) {{ echo({argument}: $v) }}")
    answers = {both(synthetic, document, variables={"v": value}).body for value in VALUES}

    assert len(answers) > 3


@pytest.mark.parametrize("field", FIELDS)
def test_each_value_of_a_field_of_an_input_object(synthetic: Ways, field: str) -> None:
    whole = synthetic.prepare("query ($v: Flat!) { echo(flat: $v) }")
    for value in VALUES:
        both(synthetic, whole, variables={"v": {"a": 1, field: value}})


DEFAULTS = [
    ("int", "Int", "null"),
    ("int", "Int", "1"),
    ("intND", "Int!", "1"),
    ("numbers", "[Int!]", "1"),
    ("numbers", "[Int!]", "[1]"),
    ("texts", "[String]", '["d", null]'),
    ("color", "Color", "OLD"),
    ("stamp", "Stamp", '"d"'),
    ("json", "Json", "{a: [1]}"),
    ("flat", "Flat", "{a: 1}"),
    ("flat", "Flat!", "{a: 1, c: {}, d: {x: 5}}"),
    ("filter", "Filter", "{n: 1, next: {n: 2}}"),
    ("one", "One", "{number: 1}"),
]


@pytest.mark.parametrize(("argument", "type_", "default"), DEFAULTS)
def test_each_default_of_a_variable(synthetic: Ways, argument: str, type_: str, default: str) -> None:
    text = f"query ($v: {type_} = {default}) {{ echo({argument}: $v) items {{ a: echo({argument}: $v) }} }}"
    document = synthetic.prepare(text)
    for variables in ({}, {"v": None}, {"v": 5}, {"v": {"a": 2}}, {"v": "RED"}, {}):
        both(synthetic, document, variables=variables)
