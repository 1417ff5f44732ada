"""What Strawberry adds to a schema, its attributes and its arguments, is answered alike both ways."""

from typing import Any

import pytest

from tests.graphql.differential.comparison import both
from tests.graphql.differential.script import Does, Plan
from tests.graphql.differential.strawberries import ODD, good_berry
from tests.graphql.differential.ways import Ways

ALL = (
    "__typename label text perhapsText number perhapsNumber fraction flag key taste perhapsTaste pickedAt words "
    "numbers tables"
)


@pytest.mark.parametrize("attribute", good_berry())
def test_an_attribute_with_each_odd_value(strawberries: Ways, attribute: str) -> None:
    for text, place in (
        (f"{{ berry {{ {ALL} itself {{ {ALL} }} }} bare }}", "berry"),
        (f"{{ berry {{ row {{ {ALL} }} perhapsItself {{ row(count: 12) {{ {ALL} }} }} }} }}", "berry"),
        (f"{{ foods {{ label ... on Berry {{ {ALL} }} ... on Stone {{ weight }} }} }}", "foods/0"),
    ):
        document = strawberries.prepare(text)
        assert "errors" not in both(strawberries, document).response
        for what in ODD:
            both(strawberries, document, Plan({f"{place}/{attribute}": Does(what)}))


def test_several_odd_attributes(strawberries: Ways) -> None:
    document = strawberries.prepare(f"mutation {{ a: pick {{ {ALL} }} b: pick(times: 2) {{ itself {{ {ALL} }} }} }}")
    for seed in range(60):
        both(strawberries, document, Plan(seed=seed, faults=0.15, waits=0.5))


@pytest.mark.parametrize("what", ["null", "no food", "wrong"])
def test_an_object_of_no_type(strawberries: Ways, what: str) -> None:
    text = "{ foods { __typename label } berry { number } }"
    assert "errors" in both(strawberries, text, Plan({"foods/2": Does(what)})).response


ARGUMENTS: list[tuple[str, list[dict[str, Any]]]] = [
    ('{ berry { renamed(plant: {name: "p"}) fails x: fails(why: "because") } }', [{}]),
    (
        '{ berry { renamed(plant: {name: "p", seeds: [{depthInSoil: 1}, {kind: SOUR}], firstSeed: {}, '
        'tags: ["a", null], plantedAt: "2026-12-01T10:00:00Z"}, byName: "b", tastes: [SOUR, SWEET], '
        'at: "2026-12-01T10:00:00+09:00", key: 5) } }',
        [{}],
    ),
    (
        '{ berry { renamed(plant: {name: "p", firstSeed: null}, byName: null, tastes: null, at: null) } }',
        [{}],
    ),
    (
        "query ($p: Plant!, $by: String, $t: [Taste!], $at: DateTime, $k: ID) { berry { "
        "renamed(plant: $p, byName: $by, tastes: $t, at: $at, key: $k) row { renamed(plant: $p) } } }",
        [
            {"p": {"name": "p"}},
            {"p": {"name": "p", "seeds": {"kind": "SOUR"}, "firstSeed": {"depthInSoil": 7}, "tags": "one"}},
            {"p": {"name": "p", "firstSeed": None, "plantedAt": None, "tags": []}, "by": None, "t": None, "k": None},
            {"p": {"name": "p", "plantedAt": "2026-12-01T10:00:00Z"}, "by": "b", "t": ["SOUR"], "k": 5},
            {"p": {"name": "p", "tags": None}, "by": 5, "t": "SWEET", "at": "yesterday"},
            {"p": {"name": None, "seeds": [{"depthInSoil": "x", "kind": "BITTER"}, None], "more": 1}, "k": 1.5},
            {"p": None},
            {"p": [{"name": "p"}]},
            {},
        ],
    ),
    (
        'query ($n: String = "d", $d: Int = 4, $s: Seed = {depthInSoil: 9}, $at: DateTime = "2026-12-01T10:00:00Z") { '
        "berry { renamed(plant: {name: $n, seeds: [{depthInSoil: $d}, $s], firstSeed: $s, plantedAt: $at}) "
        "x: fails(why: $n) } }",
        [{}, {"n": "n", "d": 1, "s": {"kind": "SOUR"}, "at": None}, {"n": None, "d": None}, {"s": None}, {"at": "no"}],
    ),
]


@pytest.mark.parametrize(("text", "values"), ARGUMENTS)
def test_arguments(strawberries: Ways, text: str, values: list[dict[str, Any]]) -> None:
    document = strawberries.prepare(text)
    for variables in (*values, *reversed(values)):
        both(strawberries, document, variables=variables)
