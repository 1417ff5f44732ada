"""A schema that Strawberry makes, with attributes and resolvers of every kind that Strawberry has."""

import asyncio
import enum
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, cast

import strawberry
from strawberry.schema.config import StrawberryConfig

from api.graphql.date_time import DATE_TIME
from tests.graphql.differential.script import GOOD, Scripted
from tests.graphql.differential.values import FAULTS, WRONG, place_of

Info: TypeAlias = strawberry.Info[Scripted, None]

WHEN = datetime(2026, 12, 1, 10, tzinfo=UTC)


@strawberry.enum
class Taste(enum.Enum):
    SWEET = "sweet"
    SOUR = strawberry.enum_value("sour", description="Not sweet.")


class Text(str):
    """A string of a class of its own."""

    __slots__ = ()


class Size(enum.IntEnum):
    SMALL = 1


class Later:
    """A value that is to be awaited, as often as it is read."""

    def __await__(self) -> Generator[Any, None, str]:
        yield from asyncio.sleep(0).__await__()
        return "later"


ODD: dict[str, Any] = {
    **WRONG,
    **{name: fault for name, fault in FAULTS.items() if name.startswith("returns") or name in ("null", "undefined")},
    "a text of its class": lambda: Text("text"),
    "a number of an enum": lambda: Size.SMALL,
    "a taste": lambda: Taste.SOUR,
    "a taste by value": lambda: "sour",
    "a moment": lambda: WHEN,
    "what is not set": lambda: strawberry.UNSET,
    "a value to be awaited": Later,
}
"""What can be in an attribute instead of a value of its type."""


@strawberry.input
class Seed:
    depth_in_soil: int = 3
    kind: Taste = Taste.SWEET


@strawberry.input
class Plant:
    name: str
    seeds: list[Seed] | None = None
    first_seed: Seed | None = strawberry.UNSET
    planted_at: datetime | None = None
    tags: list[str | None] = strawberry.field(default_factory=lambda: ["green"])


@strawberry.interface
class Food:
    label: str


@strawberry.type
class Berry(Food):
    text: str
    perhaps_text: str | None
    number: int
    perhaps_number: int | None
    fraction: float
    flag: bool
    key: strawberry.ID
    taste: Taste
    perhaps_taste: Taste | None
    picked_at: datetime | None
    words: list[str]
    numbers: list[int | None] | None
    tables: list[list[int]] | None

    @strawberry.field
    def itself(self) -> "Berry":
        return self

    @strawberry.field
    async def perhaps_itself(self, info: Info) -> "Berry | None":
        place = place_of(info.path)
        await info.context.late(place, info.context.plan.how(place))
        return self if info.context.plan.what(place, ("null",)) == GOOD else None

    @strawberry.field
    def row(self, count: int = 2) -> "list[Berry]":
        return [replace(self, number=number) for number in range(count)]

    @strawberry.field
    def renamed(
        self,
        info: Info,
        plant: Plant,
        by: Annotated[str | None, strawberry.argument(name="byName")] = "nobody",
        tastes: list[Taste] | None = strawberry.UNSET,
        at: datetime | None = None,
        key: strawberry.ID | None = None,
    ) -> str:
        return f"{info.field_name} {info.path.key} {plant} {by!r} {tastes!r} {at!r} {key!r} {info.variable_values}"

    @strawberry.field
    async def fails(self, why: str = "broken") -> str | None:
        raise ValueError(why)


@strawberry.type
class Stone(Food):
    weight: int = 5


def good_berry() -> dict[str, Any]:
    return {
        "label": "a berry",
        "text": "text",
        "perhaps_text": None,
        "number": 5,
        "perhaps_number": None,
        "fraction": 0.5,
        "flag": True,
        "key": strawberry.ID("k1"),
        "taste": Taste.SWEET,
        "perhaps_taste": None,
        "picked_at": WHEN,
        "words": ["a", "b"],
        "numbers": [1, None],
        "tables": [[1], []],
    }


def planned_berry(context: Scripted, place: str) -> Berry:
    """A berry with the odd attributes that the plan has."""
    attributes = good_berry()
    for name in attributes:
        what = context.plan.what(f"{place}/{name}", tuple(ODD))
        if what != GOOD:
            attributes[name] = ODD[what]()
    return Berry(**attributes)


@strawberry.type
class Query:
    @strawberry.field
    def berry(self, info: Info) -> Berry | None:
        return planned_berry(info.context, "berry")

    @strawberry.field
    async def foods(self, info: Info) -> list[Food]:
        await info.context.late("foods", info.context.plan.how("foods"))
        berry = planned_berry(info.context, "foods/0")
        nothing, wrong = cast("Food", object()), cast("Food", {"label": "no food"})
        odd = {"null": cast("Food", None), "no food": nothing, "wrong": wrong, "good": Stone(label="more")}
        return [berry, Stone(label="a stone"), odd[info.context.plan.what("foods/2", ("null", "no food", "wrong"))]]

    @strawberry.field
    def bare(root) -> str:  # noqa: N805  # Strawberry passes the root value under this name
        return f"the root is {root!r}"


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def pick(self, info: Info, times: int = 1) -> Berry | None:
        info.context.calls.append(f"pick{times}")
        await info.context.late(f"pick{times}", info.context.plan.how(f"pick{times}"))
        return planned_berry(info.context, "pick")


def strawberry_schema() -> strawberry.Schema:
    config = StrawberryConfig(scalar_map={datetime: DATE_TIME})
    return strawberry.Schema(Query, Mutation, types=(Berry, Stone), config=config)
