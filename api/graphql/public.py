"""Public fields: their values are the same for every caller, so that requests can share an execution of them.

A field is public only if it says so where it is defined: `strawberry.field(metadata=PUBLIC)`. A new field is not shared
until somebody has decided that.
"""

from collections.abc import Iterator, Mapping

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    get_named_type,
)

from api.graphql.compiled.resolvers import strawberry_field

PUBLIC: Mapping[str, bool] = {"public": True}
"""The metadata of a public field. Its resolver must not use who the caller is, nor where the request came from."""


class PublicFields:
    """The public fields of a schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._coordinates = frozenset(_coordinates(schema))

    def cover(self, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]) -> bool:
        """Whether all fields that an operation of a valid document selects, at every depth, are public. The fields of
        introspection are."""
        root = self._schema.get_root_type(operation.operation)
        assert root is not None, "a valid document"
        waiting: list[tuple[SelectionSetNode, GraphQLNamedType]] = [(operation.selection_set, root)]
        spread: set[str] = set()
        while waiting:
            selections, parent = waiting.pop()
            for selection in selections.selections:
                match selection:
                    case FieldNode():
                        name = selection.name.value
                        if name.startswith("__"):
                            continue
                        if (parent.name, name) not in self._coordinates:
                            return False
                        if selection.selection_set is not None:
                            assert isinstance(parent, GraphQLObjectType | GraphQLInterfaceType), "it has fields"
                            waiting.append((selection.selection_set, get_named_type(parent.fields[name].type)))
                    case InlineFragmentNode():
                        waiting.append((selection.selection_set, self._type_of(selection, parent)))
                    case FragmentSpreadNode() if selection.name.value not in spread:
                        spread.add(selection.name.value)
                        fragment = fragments[selection.name.value]
                        waiting.append((fragment.selection_set, self._type_of(fragment, parent)))
        return True

    def _type_of(self, node: FragmentDefinitionNode | InlineFragmentNode, parent: GraphQLNamedType) -> GraphQLNamedType:
        return parent if node.type_condition is None else self._schema.type_map[node.type_condition.name.value]


def _coordinates(schema: GraphQLSchema) -> Iterator[tuple[str, str]]:
    """The names of types and of their public fields. A field of an interface is public if it is so in each of the types
    that implement the interface."""
    for kind in schema.type_map.values():
        match kind:
            case GraphQLObjectType():
                objects = [kind]
            case GraphQLInterfaceType():
                objects = schema.get_possible_types(kind)
            case _:
                continue
        for name in kind.fields:
            if all(_is_declared(each.fields[name]) for each in objects):
                yield kind.name, name


def _is_declared(field: GraphQLField) -> bool:
    """Whether the field is declared as public. A field without a resolver needs no declaration: the resolver of a field
    around it has computed its value."""
    definition = strawberry_field(field)
    return definition is not None and (definition.is_basic_field or definition.metadata.get("public") is True)
