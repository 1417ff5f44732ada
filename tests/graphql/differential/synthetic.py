"""A schema with everything that a schema can have. Its fields follow the plan of the context."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from graphql import (
    GraphQLAbstractType,
    GraphQLError,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
)
from graphql.pyutils import Path

from tests.graphql.differential.script import GOOD, How, Scripted
from tests.graphql.differential.values import Maker, kind_of, place_of, place_of_object, to_return

_FIELDS = """
    int: Int
    intN: Int!
    float: Float
    string: String
    stringN: String!
    boolean: Boolean
    id: ID
    idN: ID!
    color: Color
    colorN: Color!
    stamp: Stamp
    json: Json
    old: String @deprecated(reason: "gone")
    item: Item
    itemN: Item!
    items: [Item]
    itemsN: [Item!]
    itemsNN: [Item!]!
    node: Node
    nodes: [Node!]
    either: Either
    eithers: [Either]!
    plain: Plain
    plains: [Plain!]
    numbers: [Int!]
    words: [String]!
    colors: [Color!]!
    matrix: [[Int!]]
    grid: [[Item!]!]
    about: String
    needs(number: Int!, color: Color!): String
    echo(
        int: Int, intD: Int = 7, intND: Int! = 9, float: Float, flag: Boolean = true, id: ID,
        texts: [String] = ["a", null], numbers: [Int!], color: Color = RED, colors: [Color!], stamp: Stamp,
        json: Json, filter: Filter, filters: [Filter!], one: One, flat: Flat
    ): String
"""

SDL = f"""
enum Color {{ RED GREEN BLUE OLD @deprecated }}
scalar Stamp
scalar Json
input Filter {{
    n: Int!
    i: Int = 4
    nd: Int! = 5
    list: [Int]
    next: Filter
    color: Color = GREEN
    stamp: Stamp
}}
input Inner {{ x: Int! = 2 y: [Color!] z: Stamp }}
input Flat {{ a: Int! b: [Int!] c: Inner d: [Inner] e: String = "e" f: Boolean g: ID h: Float = 1 i: Color! = BLUE }}
input One @oneOf {{ number: Int text: String filter: Filter }}
interface Node {{ {_FIELDS} }}
union Either = Item | Other
type Item implements Node {{ {_FIELDS} }}
type Other implements Node {{ {_FIELDS} }}
type Plain {{ text: String number: Int! color: Color call(number: Int = 3): String more: Plain rows: [Plain!] }}
type Query {{ {_FIELDS} }}
type Mutation {{ {_FIELDS} }}
"""


@dataclass(frozen=True)
class Stamp:
    """A parsed value of the scalar Stamp."""

    text: str


def synthetic_schema() -> GraphQLSchema:
    """The schema, with a resolver for every field but those of Plain, which has graphql-core's own resolver."""
    schema = build_schema(SDL)
    for name in ("Query", "Mutation", "Item", "Other"):
        for field_name, field in _object(schema, name).fields.items():
            field.resolve = {"echo": _echo, "needs": _echo, "about": _about}.get(field_name, _resolve)
    for name in ("Item", "Other"):
        _object(schema, name).is_type_of = _IsTypeOf(name)
    node = schema.type_map["Node"]
    assert isinstance(node, GraphQLInterfaceType)
    node.resolve_type = _resolve_type
    stamp, json = schema.type_map["Stamp"], schema.type_map["Json"]
    assert isinstance(stamp, GraphQLScalarType)
    assert isinstance(json, GraphQLScalarType)
    stamp.coerce_output_value, stamp.coerce_input_value = _sent, _parsed
    json.coerce_output_value = _sent_as_json
    return schema


def _object(schema: GraphQLSchema, name: str) -> GraphQLObjectType:
    found = schema.type_map[name]
    assert isinstance(found, GraphQLObjectType)
    return found


def _resolve(source: object, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    """Return or raise what the plan has for the place, at once or later."""
    context: Scripted = info.context
    place = place_of(info.path)
    context.calls.append(place)
    return to_return(Maker(context, source), info.return_type, place)


def _echo(source: object, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    """The arguments that the resolver has got, by name, unless the plan has a fault for the place."""
    context: Scripted = info.context
    place = place_of(info.path)
    context.calls.append(place)
    return to_return(Maker(context, source), info.return_type, place, good=repr(sorted(arguments.items())))


def _about(source: object, info: GraphQLResolveInfo[Any]) -> str:
    """What `info` offers a resolver."""
    path: list[object] = []
    step: Path | None = info.path
    while step is not None:
        path.append((step.key, step.typename))
        step = step.prev
    assert info.context.calls is not None
    assert info.schema.query_type is not None
    name = info.operation.name
    described = {
        "field": (info.field_name, str(info.return_type), info.parent_type.name),
        "path": path,
        "nodes": [(node.name.value, node.loc and node.loc.start) for node in info.field_nodes],
        "operation": (info.operation.operation.value, name and name.value),
        "fragments": {name: fragment.name.value for name, fragment in info.fragments.items()},
        "variables": info.variable_values,
        "root": info.root_value,
        "schema": [field for field in info.schema.query_type.fields if field == "about"],
        "awaitable": (info.is_awaitable(source), callable(info.is_awaitable)),
        "source": kind_of(source),
    }
    return repr(described)


@dataclass(frozen=True)
class _IsTypeOf:
    """Whether a value is of the type. An object that names its type can answer later, or wrongly."""

    name: str

    def __call__(self, value: object, info: GraphQLResolveInfo[Any]) -> Any:
        if not isinstance(value, dict):
            return kind_of(value) == self.name

        def answer(what: str) -> bool:
            if what == "raises":
                raise ValueError(f"cannot see whether this is a {self.name}")
            return kind_of(value) == self.name and what == GOOD

        return _answer_about(value, "is", info.context, ("is not", "raises"), answer)


_WRONG_TYPES: Mapping[str, object] = {
    "nothing": None,
    "a number": 5,
    "unknown": "Nobody",
    "an interface": "Node",
    "not possible": "Plain",
}


def _resolve_type(value: object, info: GraphQLResolveInfo[Any], abstract_type: GraphQLAbstractType) -> Any:
    """The name of the value's type, or what is no name of a type. It can come later."""

    def answer(what: str) -> object:
        if what == "raises":
            raise ValueError("no type")
        if what == "refuses":
            raise GraphQLError(f"no type for {abstract_type.name}")
        return _WRONG_TYPES.get(what, kind_of(value))

    return _answer_about(value, "type", info.context, ("raises", "refuses", *_WRONG_TYPES), answer)


def _answer_about(
    value: object, question: str, context: Scripted, faults: Sequence[str], answer: Callable[[str], object]
) -> Any:
    """The answer to a question about an object, at once or later, by the plan for the object's place."""
    place = place_of_object(value)
    if place is None:
        return answer(GOOD)
    place = f"{place}~{question}"
    what, how = context.plan.what(place, faults), context.plan.how(place)

    async def later() -> object:
        await context.late(place, how)
        return answer(what)

    return answer(what) if how is How.NOW else later()


def _sent(value: Any) -> Any:
    """A stamp as it is sent. Raises ValueError for what is not a stamp, and sends nothing for an empty one."""
    text = getattr(value, "text", value)
    if not isinstance(text, str):
        raise ValueError(f"{value!r} is no stamp")
    return text or None


def _sent_as_json(value: Any) -> Any:
    """The value itself. Raises TypeError for what JSON cannot have."""
    orjson.dumps(value)
    return value


def _parsed(value: Any) -> Stamp:
    """The stamp in an input value. Raises ValueError, and GraphQLError for an empty stamp."""
    if value == "":
        raise GraphQLError("a stamp is not empty")
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no stamp")
    return Stamp(value)
