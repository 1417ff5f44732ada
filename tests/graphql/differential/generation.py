"""Operations made from a schema: some hundred in the time in which hypothesis-graphql makes ten."""

from random import Random
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationType,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
    parse,
)

DEPTH = 5

LITERALS = {
    "Int": ("0", "7", "-3", "2147483647"),
    "Float": ("0.5", "-2", "1e3"),
    "String": ('"text"', '""', '"„ü\\n\\u2028"', '"""block"""'),
    "Boolean": ("true", "false"),
    "ID": ('"id"', "5", '"00000000-0000-4000-8000-000000000001"'),
    "Stamp": ('"a stamp"', '"another"'),
    "Json": ('{a: [1, "x"]}', "null", "[1, 2.5]"),
    "DateTime": ('"2026-12-01T10:00:00Z"',),
}
"""Literals of each scalar."""

USEFUL = {
    "id": ('"00000000-0000-0000-0000-000000000001"', '"00000000-0000-0000-0000-000000000064"'),
    "productId": ('"00000000-0000-0000-0000-000000000002"', '"00000000-0000-0000-0000-000000000009"'),
    "orderId": ('"00000000-0000-0000-0000-000000000065"',),
    "region": ('"home"', '"peer"', "null"),
    "userRef": ('"ada"', '"ada"', '"bob"', "null"),
    "dropName": ('"First Light"',),
    "slug": ('"first-light"',),
    "drop": ('"first-light"',),
    "name": ('"Tee"',),
    "first": ("1", "2", "12", "100", "null"),
    "last": ("null", "null", "2"),
    "before": ("null",),
    "after": ("null",),
    "ids": (
        '["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000065"]',
        '["00000000-0000-0000-0000-000000000009"]',
    ),
    "quantity": ("1", "2"),
    "stock": ("0", "5"),
    "shards": ("16",),
    "delta": ("5", "-1"),
    "limitPerBuyer": ("2", "null"),
    "holdSeconds": ("600", "null"),
    "paymentRef": ('"pi_1"',),
    "idempotencyKey": ('"click-1"', "null"),
}
"""Literals of the real schema's arguments that lead to an answer, most of the time."""


def make_operation(schema: GraphQLSchema, type_: OperationType, seed: int) -> DocumentNode:
    """An operation of this type, as a document of its own, without fragments and variables."""
    root = schema.get_root_type(type_)
    return parse(f"{type_.value} {_Maker(schema, Random(seed)).selections(root, DEPTH)}")  # noqa: S311


class _Maker:
    def __init__(self, schema: GraphQLSchema, random: Random) -> None:
        self._schema = schema
        self._random = random

    def selections(self, type_: Any, depth: int) -> str:
        """Some fields of the type, with fields of theirs, down to this depth."""
        if is_abstract_type(type_):
            return self._selections_of_abstract(type_, depth)
        return f"{{ {self._fields(type_, depth)} }}"

    def _selections_of_abstract(self, type_: Any, depth: int) -> str:
        possible = self._schema.get_possible_types(type_)
        chosen = self._random.sample(possible, self._random.randint(1, min(3, len(possible))))
        parts = [f"... on {each.name} {self.selections(each, depth)}" for each in chosen]
        if hasattr(type_, "fields"):
            parts.append(self._fields(type_, depth))
        self._random.shuffle(parts)
        return f"{{ __typename {' '.join(parts)} }}"

    def _fields(self, type_: Any, depth: int) -> str:
        usable = [name for name, field in type_.fields.items() if depth > 1 or is_leaf_type(get_named_type(field.type))]
        if not usable:
            return "__typename"
        names = self._random.sample(usable, min(len(usable), self._random.choice((1, 2, 3, 4))))
        return " ".join(self._field(name, type_.fields[name], depth) for name in names)

    def _field(self, name: str, field: Any, depth: int) -> str:
        arguments = [
            f"{argument_name}: {self._value(argument_name, argument.type, 3)}"
            for argument_name, argument in field.args.items()
            if is_required_argument(argument) or self._random.random() < 0.4
        ]
        written = f"{name}({', '.join(arguments)})" if arguments else name
        of = get_named_type(field.type)
        # Two possible types must not have fields of one name with different arguments: an alias keeps them apart.
        alias = f"x{self._random.randrange(10**6)}: " if arguments and self._random.random() < 0.5 else ""
        return f"{alias}{written}" if is_leaf_type(of) else f"{alias}{written} {self.selections(of, depth - 1)}"

    def _value(self, name: str, type_: GraphQLInputType, depth: int) -> str:
        """A literal for an argument, or for a field of an input object."""
        if name in USEFUL and self._random.random() < 0.9:
            return self._random.choice(USEFUL[name])
        return self._literal(type_, depth)

    def _literal(self, type_: GraphQLInputType, depth: int) -> str:
        """A literal of this type. Lists and input objects have values down to this depth."""
        if isinstance(type_, GraphQLNonNull):
            return self._literal(type_.of_type, depth)
        if isinstance(type_, GraphQLList):
            if self._random.random() < 0.2:
                return self._literal(type_.of_type, depth)
            items = (self._literal(type_.of_type, depth - 1) for _ in range(self._random.choice((0, 1, 2))))
            return f"[{', '.join(items)}]"
        if isinstance(type_, GraphQLEnumType):
            value: str = self._random.choice(list(type_.values))
            return value
        if isinstance(type_, GraphQLInputObjectType):
            return self._object(type_, depth)
        return self._random.choice(LITERALS[type_.name])

    def _object(self, type_: GraphQLInputObjectType, depth: int) -> str:
        names = [
            name
            for name, field in type_.fields.items()
            if is_required_input_field(field) or (depth > 1 and self._random.random() < 0.4)
        ]
        if type_.is_one_of:
            names = [self._random.choice([name for name in type_.fields if name != "filter" or depth > 1])]
        fields = (f"{name}: {self._value(name, type_.fields[name].type, depth - 1)}" for name in names)
        return f"{{{', '.join(fields)}}}"
