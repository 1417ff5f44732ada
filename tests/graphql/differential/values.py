"""The values that resolvers return by a plan: good ones of each type, and wrong ones."""

from asyncio import CancelledError
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn
from uuid import UUID

from graphql import (
    GraphQLEnumType,
    GraphQLError,
    GraphQLList,
    GraphQLNonNull,
    GraphQLOutputType,
    GraphQLResolveInfo,
    Undefined,
    is_abstract_type,
    is_leaf_type,
)
from graphql.pyutils import Path

from api.database.errors import Unavailable
from api.drops.errors import InvalidInput
from api.graphql.reference import PIECE
from api.identity.errors import RateLimited
from tests.graphql.differential.script import GOOD, How, Scripted


@dataclass(frozen=True)
class Thing:
    """An object of the type `kind`, made for a place."""

    kind: str
    place: str


class Opaque:
    """A value of no type."""

    def __str__(self) -> str:
        return "opaque"


def _raiser(error: Callable[[], Exception]) -> Callable[[], NoReturn]:
    def fault() -> NoReturn:
        raise error()

    return fault


def _cancel() -> NoReturn:
    raise CancelledError


class _Named(Exception):
    """An error with a message of its own, as some libraries have."""

    message = "by its attribute"


FAULTS: dict[str, Callable[[], Any]] = {
    "null": lambda: None,
    "undefined": lambda: Undefined,
    "raises": _raiser(lambda: ValueError("broken")),
    "refuses": _raiser(lambda: InvalidInput("this is not allowed")),
    "is away": _raiser(lambda: Unavailable("no route to db1")),
    "is limited": _raiser(lambda: RateLimited("too often", 2.5)),
    "raises a GraphQL error": _raiser(lambda: GraphQLError("a message of its own", extensions={"mine": 1})),
    "raises an error of elsewhere": _raiser(lambda: GraphQLError("it was elsewhere", path=["else", 3])),
    "raises a named error": _raiser(_Named),
    "returns an error": lambda: ValueError("returned"),
    "returns a GraphQL error": lambda: GraphQLError("returned, with a message"),
}
"""What a field of any type can do instead of returning a value of its type."""

CANCELS: dict[str, Callable[[], Any]] = {"is cancelled": _cancel}
"""What ends the whole execution."""

WRONG: dict[str, Callable[[], Any]] = {
    "text": lambda: "text",
    "digits": lambda: "12",
    "nothing written": lambda: "",
    "a number": lambda: 7,
    "a float": lambda: 7.5,
    "a whole float": lambda: 7.0,
    "true": lambda: True,
    "not a number": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "too large": lambda: 2**31,
    "far too large": lambda: 10**400,
    "too small": lambda: -(2**31) - 1,
    "a decimal": lambda: Decimal("1.5"),
    "bytes": lambda: b"bytes",
    "a list": lambda: [1],
    "a mapping": lambda: {"a": 1},
    "a UUID": lambda: UUID(int=5),
    "an object": Opaque,
}
"""Values that are wrong for most types, and right for some."""

EVERY_FAULT = (*FAULTS, *WRONG)

_DEEDS = {**FAULTS, **WRONG, **CANCELS}

_GOOD: dict[str, Callable[[str, float], Any]] = {
    "Int": lambda place, number: int(number * 1000) - 500,
    "Float": lambda place, number: number * 10 - 5,
    "String": lambda place, number: f'the text of {place} – „ü"\\\n\u2028',
    "Boolean": lambda place, number: number < 0.5,
    "ID": lambda place, number: f"id-{place}" if number < 0.7 else int(number * 100),
    "Stamp": lambda place, number: SimpleNamespace(text=f"stamp of {place}"),
    "Json": lambda place, number: {"place": place, "list": [1, None, {"number": number}]},
}


def place_of(path: Path) -> str:
    return "/".join(map(str, path.as_list()))


def place_of_object(value: object) -> object:
    """The place that an object was made for; None for an object that was made for none."""
    return value.get("place") if isinstance(value, dict) else getattr(value, "place", None)


def kind_of(value: object) -> str | None:
    """The name of the type that an object of a plan was made for."""
    if isinstance(value, dict):
        return value.get("__typename")
    return value.kind if isinstance(value, Thing) else type(value).__name__


@dataclass(frozen=True)
class Maker:
    """Makes the values of the fields of one object."""

    context: Scripted
    source: object

    def make(self, type_: GraphQLOutputType, place: str, good: object = None) -> Any:
        """The value at a place: a good one (`good`, if there is one), or the fault that the plan has. It can raise."""
        while isinstance(type_, GraphQLNonNull):
            type_ = type_.of_type
        what = self.context.plan.what(place, EVERY_FAULT)
        if what != GOOD:
            return _DEEDS[what]()
        if good is not None:
            return good
        if isinstance(type_, GraphQLList):
            return self._list(type_.of_type, place)
        number = self.context.plan.number(place, "value")
        if isinstance(type_, GraphQLEnumType):
            return self.context.plan.choice(place, "color", list(type_.values))
        if is_leaf_type(type_):
            return _GOOD[type_.name](f"{place} of {place_of_object(self.source)}", number)
        if is_abstract_type(type_):
            kind = self.context.plan.choice(place, "kind", ("Item", "Other"))
            return Thing(kind, place) if number < 0.4 else {"__typename": kind, "place": place}
        if str(type_) == "Plain":
            return plain(self, place)
        return Thing(str(type_), place) if number < 0.7 else {"__typename": str(type_), "place": place}

    def _list(self, item_type: GraphQLOutputType, place: str) -> Any:
        plan = self.context.plan
        number = plan.number(place, "length")
        leaf = is_leaf_type(item_type.of_type if isinstance(item_type, GraphQLNonNull) else item_type)
        length = PIECE + 3 if number > 0.9 and (leaf or place.count("/") < 2) else int(number * 4)
        length = length if plan.length is None else plan.length
        container = plan.choice(place, "container", (*["list"] * 6, "tuple", "deque", "generator", "stream"))
        # In a list that is completed in pieces, no item may wait. No resolver of the API returns such items.
        # Nor in a list of a list: graphql-core leaves it unawaited when it fails before it comes to this list.
        waits = length <= PIECE and container != "generator" and not place.rpartition("/")[2].isdigit()
        if container == "stream":
            return self._stream(item_type, place, length)
        items = [self._item(item_type, f"{place}/{index}", waits=waits) for index in range(length)]
        if container == "tuple":
            return tuple(items)
        if container == "deque":
            return deque(items)
        if container == "generator":
            return (item for item in items)
        return items

    async def _stream(self, item_type: GraphQLOutputType, place: str, length: int) -> AsyncIterator[Any]:
        for index in range(length):
            item = f"{place}/{index}"
            await self.context.late(f"{item}~next", self.context.plan.how(f"{item}~next"))
            yield self._item(item_type, item, waits=True)

    def _item(self, item_type: GraphQLOutputType, place: str, *, waits: bool) -> Any:
        if waits and self.context.plan.how(place) is not How.NOW:
            return to_return(self, item_type, place)
        try:
            return self.make(item_type, place)
        except Exception as error:
            return error


def to_return(maker: Maker, type_: GraphQLOutputType, place: str, good: object = None) -> Any:
    """What a resolver returns: the value of `make`, or something that has this value later."""
    context = maker.context
    how = context.plan.how(place)
    if how is How.NOW:
        return maker.make(type_, place, good)

    async def later() -> Any:
        await context.late(place, how)
        return maker.make(type_, place, good)

    return later()


def plain(maker: Maker, place: str) -> object:
    """An object whose fields graphql-core itself resolves: a mapping, or an object with attributes. Its fields have
    values, or are functions. Some are missing."""
    plan = maker.context.plan
    fields: dict[str, Any] = {
        "text": plan.choice(place, "text", ("some text", "", 7, None, [1])),
        "number": plan.choice(place, "number", (5, 5, 5, "6", None, "no")),
        "color": plan.choice(place, "color", ("RED", "GREEN", "MAUVE", 5)),
        "call": lambda info, number: f"{info.field_name} {number} {place_of(info.path)}",
        "more": partial(_more, maker),
        "rows": lambda info: [plain(maker, f"{place_of(info.path)}/{index}") for index in range(2)],
    }
    missing = plan.choice(place, "missing", ("", "", "", "text", "color", "call"))
    fields = {name: value for name, value in fields.items() if name != missing}
    return fields if plan.number(place, "form") < 0.5 else SimpleNamespace(**fields)


def _more(maker: Maker, info: GraphQLResolveInfo[Any]) -> Any:
    place = place_of(info.path)
    return to_return(maker, info.return_type, place)
