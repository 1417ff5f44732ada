"""Public fields: their values are the same for every caller, so that requests can share an execution of them.

A field is public only if it says so where it is defined: `strawberry.field(metadata=PUBLIC)`. A new field is not shared
until somebody has decided that.
"""

from collections.abc import Mapping, Sequence

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
)

from api.graphql.compiled.resolvers import strawberry_field

PUBLIC: Mapping[str, bool] = {"public": True}
"""The metadata of a public field. Its resolver must not use who the caller is, nor where the request came from."""


def public_queries(schema: GraphQLSchema) -> frozenset[str]:
    """The names of the fields of Query that are public, with every field that can be selected in them."""
    query = schema.query_type
    assert query is not None
    return frozenset(name for name, field in query.fields.items() if _is_public(field, schema))


def _is_public(field: GraphQLField, schema: GraphQLSchema) -> bool:
    """Whether the field and all fields that can be selected in it are public."""
    reached: set[str] = set()
    waiting = [field]
    while waiting:
        field = waiting.pop()
        if not _is_declared(field):
            return False
        for kind in _objects(field, schema):
            if kind.name not in reached:
                reached.add(kind.name)
                waiting += kind.fields.values()
    return True


def _is_declared(field: GraphQLField) -> bool:
    """Whether the field is declared as public. A field without a resolver needs no declaration: the resolver of a field
    around it has computed its value."""
    definition = strawberry_field(field)
    return definition is not None and (definition.is_basic_field or definition.metadata.get("public") is True)


def _objects(field: GraphQLField, schema: GraphQLSchema) -> Sequence[GraphQLObjectType]:
    """The types of the objects that the field's value can be."""
    match get_named_type(field.type):
        case GraphQLObjectType() as kind:
            return [kind]
        case GraphQLInterfaceType() | GraphQLUnionType() as kind:
            return schema.get_possible_types(kind)
        case _:
            return []
