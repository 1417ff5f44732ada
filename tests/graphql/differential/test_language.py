"""Every part of the language: the prepared execution sends what graphql-core sends, byte for byte."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from api.graphql.documents import Document
from tests.graphql.differential.comparison import both
from tests.graphql.differential.script import Plan
from tests.graphql.differential.ways import Ways

SELECTIONS = [
    "{ int }",
    "{ int int int }",
    "{ a: int b: int int a: int }",
    "{ string item { string item { string } } }",
    "{ item { int } item { string } x: item { int } item { int id } }",
    "{ item { item { int } } ... { item { item { string } id } } ...F } "
    "fragment F on Query { item { item { color } } }",
    "{ ...A ...B ...A int } fragment A on Query { id ...B } fragment B on Query { float string ...C } "
    "fragment C on Query { boolean int }",
    "{ ... on Query { int } ... { string ... { id ... on Query { float } } } }",
    "{ string ...F } fragment F on Query { int item { ...G } } fragment G on Item { int item { ...H } } "
    "fragment H on Node { string }",
    "{ __typename a: __typename item { __typename } nodes { __typename } eithers { __typename } plain { __typename } }",
    "{ node { id ... on Item { int } ... on Other { string } ... on Node { float ... on Other { boolean } } } }",
    "{ nodes { ...N ...I ...O } } fragment N on Node { id } fragment I on Item { int id } "
    "fragment O on Other { id string }",
    "{ eithers { ... on Item { int } ... on Other { int string } ... on Node { id } ... on Either { __typename } } }",
    "{ either { ... on Node { item { int } } ... on Item { item { string } } ... on Other { item { id } } } }",
    "{ items { int } itemsN { int items { int } } itemsNN { int string float id } numbers words colors matrix }",
    "{ grid { int grid { string } } }",
    "{ plain { text number color call } }",
    "{ plain { call(number: 5) x: call(number: null) more { text more { number } } rows { call rows { text } } } }",
    "{ plains { text number color call more { call } } }",
    "{ old echo(color: OLD) }",
    "query Name { int }",
    "{\n  int\n  item {\n    string\n  }\n}\n# the end",
    "{ __schema { queryType { name fields { name args { name defaultValue } } } types { name kind } } int }",
    '{ __type(name: "Item") { name kind interfaces { name } possibleTypes { name } } item { int __typename } }',
    '{ a: __type(name: "Nothing") { name } b: __type(name: "Color") { enumValues(includeDeprecated: true) { name } } }',
    '{ c: __type(name: "Filter") { inputFields { name type { kind ofType { name } } defaultValue } } int }',
    "mutation { int string a: int item { item { int } } }",
    "mutation { ...F b: int ... { c: int } } fragment F on Mutation { int a: string }",
]

CONDITIONS = [
    "{ int @skip(if: true) string @skip(if: false) id @include(if: true) float @include(if: false) }",
    "{ int @skip(if: true) @include(if: true) string @skip(if: false) @include(if: false) "
    "id @skip(if: false) @include(if: true) a: int @include(if: false) @skip(if: true) }",
    "{ item @include(if: false) { int } item { string } }",
    "{ ... @skip(if: true) { int } ... @include(if: true) { string } ...F @skip(if: true) ...F @include(if: true) } "
    "fragment F on Query { id }",
    "{ ...F @include(if: false) item { ...G @skip(if: true) ...G } ...F } fragment F on Query { id } "
    "fragment G on Item { int }",
    "{ item { int @skip(if: true) } items { string @include(if: false) } }",
    "{ int @skip(if: true) }",
    "query ($a: Boolean!, $b: Boolean!) { int @skip(if: $a) string @include(if: $a) item @include(if: $b) { "
    "int @skip(if: $a) string @include(if: $b) } ...F @skip(if: $b) ... @include(if: $a) { c: int } "
    "... on Query @skip(if: $a) @include(if: $b) { d: int } } fragment F on Query { id @include(if: $a) }",
    "query ($a: Boolean!, $b: Boolean!) { ...F item { ...G } } fragment F on Query { int @skip(if: $a) string } "
    "fragment G on Item { id ... @include(if: $b) { int ...H } } fragment H on Node { float @skip(if: $b) }",
]

NULLABLE_CONDITIONS = [
    "query ($a: Boolean = true) { int @skip(if: $a) }",
    "query ($a: Boolean = true) { int item { string @include(if: $a) } id }",
    "query ($a: Boolean = false) { items { string @include(if: $a) int } id }",
    "query ($a: Boolean = true) { nodes { ... @skip(if: $a) { id } } int }",
    "query ($a: Boolean = true) { itemN { ...F @include(if: $a) } } fragment F on Item { int }",
    "query ($a: Boolean = true) { int @skip(if: true) @include(if: $a) string }",
    "query ($a: Boolean! = true) { int @skip(if: $a) string }",
    "mutation ($a: Boolean = true) { int item { string @include(if: $a) } id @skip(if: $a) }",
]

SWITCHES: list[dict[str, Any] | None] = [
    {"a": True, "b": True},
    {"a": True, "b": False},
    {"a": False, "b": True},
    {"a": False, "b": False},
    {"a": None, "b": True},
    {"b": "true"},
    {},
    None,
]

ARGUMENTS: list[tuple[str, list[dict[str, Any]]]] = [
    ("{ echo }", [{}, {"unknown": 1}]),
    ("{ echo(int: 5, intD: 6, intND: 7, float: 1, flag: false, id: 5, texts: null, numbers: 3, color: BLUE) }", [{}]),
    (
        "{ echo(int: null, intD: null, flag: null, id: null, color: null, colors: null, filter: null, stamp: null) }",
        [{}],
    ),
    (
        '{ echo(texts: ["x", null], numbers: [], colors: [RED, OLD], stamp: "s", json: {a: [1, {b: null}], c: RED}) }',
        [{}],
    ),
    ("{ echo(filter: {n: 1}) a: echo(filter: {n: 1, i: null, nd: 2, list: 5, color: BLUE, next: {n: 2}}) }", [{}]),
    ("{ echo(filters: [{n: 1}, {n: 2, list: [1, null]}], one: {number: 3}) }", [{}]),
    (
        "query ($int: Int, $d: Int, $nd: Int!, $t: [String], $c: Color) { "
        "echo(int: $int, intD: $d, intND: $nd, texts: $t, color: $c) }",
        [
            {"nd": 1},
            {"nd": 1, "int": None, "d": None, "t": None, "c": None},
            {"nd": 1, "int": 2, "d": 3, "t": ["x", None], "c": "GREEN"},
            {"nd": 1, "t": "one"},
            {"nd": 1.0, "int": 2.0},
            {"nd": None},
            {},
            {"nd": "1", "int": "2", "d": [3], "t": [4, "x"], "c": "PINK"},
            {"nd": 2**31, "int": 1.5, "d": True, "t": {"a": 1}, "c": 1},
        ],
    ),
    (
        'query ($nd: Int = 5, $i: Int = null, $t: [String] = ["d"], $f: Filter = {n: 1, next: {n: 2}}) '
        "{ echo(intND: $nd, int: $i, texts: $t, filter: $f) }",
        [{}, {"nd": None}, {"nd": 6, "i": None, "t": None, "f": None}, {"f": {"n": 3, "next": {"n": 4, "i": None}}}],
    ),
    (
        "query ($i: Int, $n: Int = 2, $c: Color, $f: Filter) { echo(filter: {n: $n, i: $i, list: [1, $i], color: $c, "
        "next: $f}, filters: [{n: 1, nd: $n}], numbers: [$n], json: {a: $i, b: [$i, {c: $n}]}) }",
        [
            {},
            {"i": 1, "n": 3, "c": "RED", "f": {"n": 9}},
            {"i": None, "n": 3, "c": None, "f": None},
            {"n": None},
            {"f": {"n": None}},
            {"f": {}},
            {"f": {"n": 1, "unknown": 2, "other": 3}},
            {"f": [1]},
            {"f": {"n": 1, "next": {"n": 1, "next": {"n": "x", "color": "PINK", "list": ["y", 3]}}}},
        ],
    ),
    (
        "query ($a: Int!, $b: [Int!]!, $c: Color!, $f: [Filter!]!, $o: One!, $s: Stamp!) { "
        "needs(number: $a, color: $c) echo(numbers: $b, filters: $f, one: $o, stamp: $s) }",
        [
            {"a": 1, "b": [1], "c": "RED", "f": [{"n": 1}], "o": {"number": 1}, "s": "s"},
            {"a": 1, "b": 2, "c": "RED", "f": {"n": 1}, "o": {"text": "t"}, "s": "s"},
            {"a": 1, "b": [], "c": "RED", "f": [], "o": {"filter": {"n": 1}}, "s": "s"},
            {"a": 1, "b": [1, None], "c": "RED", "f": [{}, None, {"n": 1}], "o": {}, "s": ""},
            {
                "a": "x",
                "b": ["x", "y", "z", 1, "w", "v", "u"],
                "c": "PINK",
                "f": 7,
                "o": {"number": 1, "text": "t"},
                "s": 7,
            },
            {"a": None, "b": None, "c": None, "f": None, "o": {"text": None}, "s": None},
            {},
        ],
    ),
    (
        "query ($n: Int = 1, $c: Color = RED) { items { a: needs(number: $n, color: $c) int } "
        "needs(number: $n, color: $c) }",
        [{}, {"n": None}, {"c": None, "n": None}],
    ),
    ('query ($s: Stamp = "d", $j: Json = {a: 1}) { echo(stamp: $s, json: $j) }', [{}, {"s": "", "j": [1]}, {"s": 1}]),
    (
        "query ($f: Flat) { echo(flat: $f) a: echo(flat: {a: 1, c: {}}) item { echo(flat: $f) } }",
        [
            {},
            {"f": {"a": 1}},
            {"f": {"a": 1, "b": 2, "c": {}, "d": {"x": 3}, "e": None, "f": False, "g": 7, "h": 2, "i": "RED"}},
            {"f": {"a": 1, "b": [1, 2], "c": {"y": "RED", "z": "s"}, "d": [None, {"y": []}], "g": "g", "h": 0.5}},
            {"f": {"a": 1, "b": None, "c": None, "d": None, "f": None, "g": None, "h": None}},
            {"f": {"b": [None], "c": {"x": None, "y": ["PINK"], "z": ""}, "d": 5, "e": 5, "f": 1, "g": 1.5, "i": None}},
            {"f": {"a": True, "b": "x", "c": [], "d": [[]], "e": ["e"], "f": "true", "g": True, "h": "1", "i": 1}},
            {"f": {"a": 2**31, "b": [2**31], "h": 10**400, "x": 1}},
            {"f": None},
            {"f": "text"},
        ],
    ),
    ("query ($s: Stamp) { a: echo(stamp: $s) b: echo(json: [$s]) }", [{}, {"s": "x"}, {"s": None}]),
]

OPERATIONS = [
    ("query A { int } query B { string } mutation C { id }", ["A", "B", "C", "D", "", None]),
    ("query A { int ...F } fragment F on Query { string }", ["A", "B", "", None]),
    ("{ int }", [None, "A", ""]),
    ("query A($a: Int!) { echo(int: $a) } query B { int } ", ["A", "B", None]),
    ("query A { about ...F } mutation B { about item { about } } fragment F on Query { item { about } }", ["A", "B"]),
]

INFO = [
    "query About($a: Int = 3, $b: Boolean!) { about a: about items { about b: about @include(if: $b) "
    "nodes { ... on Item { about } ... on Node { about } } } echo(int: $a) ...F } fragment F on Query { about ...G } "
    "fragment G on Query { item { about } item { item { about } } }",
    "mutation { about item { about } plain { call } }",
]

SEEDS = (0, 1, 2)
"""One document is executed by all seeds and with all variables: nothing of one execution may stay for another."""


def run_by_seeds(
    ways: Ways, document: Document, variables: Mapping[str, Any] | None = None, name: str | None = None
) -> None:
    for seed in SEEDS:
        late = 0.4 * (seed > 0)
        both(ways, document, Plan(seed=seed, waits=late, coroutines=late), variables, name)


@pytest.mark.parametrize("text", SELECTIONS)
def test_selections(synthetic: Ways, text: str) -> None:
    run_by_seeds(synthetic, synthetic.prepare(text))


@pytest.mark.parametrize("text", [*CONDITIONS, *NULLABLE_CONDITIONS])
def test_conditions(synthetic: Ways, text: str) -> None:
    document = synthetic.prepare(text)
    for variables in SWITCHES if "$" in text else [None]:
        run_by_seeds(synthetic, document, variables)


def test_many_combinations_of_conditions(synthetic: Ways) -> None:
    """More of them than an execution may keep, and each of them again after the others."""
    text = (
        "query ($a: Boolean!, $b: Boolean!, $c: Boolean!, $d: Boolean!) { int @skip(if: $a) item { id @include(if: $b) "
        "string item @skip(if: $c) { int @include(if: $a) color } } ...F @include(if: $d) } "
        "fragment F on Query { float item { boolean @skip(if: $b) item { stamp } } }"
    )
    document = synthetic.prepare(text)
    for values in [*product((True, False), repeat=4)] * 2:
        both(synthetic, document, Plan(seed=1), dict(zip("abcd", values, strict=True)))


@pytest.mark.parametrize(("text", "values"), ARGUMENTS)
def test_arguments(synthetic: Ways, text: str, values: list[dict[str, Any]]) -> None:
    document = synthetic.prepare(text)
    for variables in (*values, *reversed(values)):
        both(synthetic, document, Plan(seed=1), variables)


@pytest.mark.parametrize(("text", "names"), OPERATIONS)
def test_operations(synthetic: Ways, text: str, names: list[str | None]) -> None:
    document = synthetic.prepare(text)
    for name in names:
        run_by_seeds(synthetic, document, {"a": 5}, name)


@pytest.mark.parametrize("text", INFO)
def test_resolvers_get_the_same_info(synthetic: Ways, text: str) -> None:
    document = synthetic.prepare(text)
    for variables in ({"b": True}, {"b": False, "a": None}):
        run_by_seeds(synthetic, document, variables)
