"""The cost of an operation: the fields that it resolves at most. It is known before the operation runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
)

from api.graphql.compiled.resolvers import strawberry_field

MAX_COST = 2_000
"""Fields that an operation resolves at most: rows times the fields of a row. Each field takes some 10 µs (measured with
`products(first: 100)` on 2 shared cores), so that the most expensive operation takes 20 ms. A hundred products with all
their fields but the description have 1,805, and 50 with their descriptions 1,905."""

LONG: Mapping[str, int] = {"cost": 20}
"""The metadata of a field whose value can have thousands of characters: it counts as so many fields. 600 descriptions
of 5,000 Japanese characters are 9 MB, and took 19 ms in one step; those of one operation are 1.5 MB at most."""

MAX_ROWS = 100
"""Rows of a page at most: the limit of `first`."""

UNPAGED_ROWS = 10
"""Rows that are assumed for a list that no argument bounds, such as the list of Regions."""

PAGE_ARGUMENT = "first"
"""The argument that bounds the rows of a field's list."""


@dataclass(frozen=True, slots=True)
class Variable:
    """Rows that a variable of the operation asks for. `default` applies where the variable is left out."""

    name: str
    default: int

    def rows(self, variables: Mapping[str, Any]) -> int:
        """The rows, MAX_ROWS at most. Execution refuses a larger page, and a value of another type."""
        value = variables.get(self.name, self.default)
        return _bounded(value if isinstance(value, int) else MAX_ROWS)


Rows: TypeAlias = int | Variable


@dataclass(frozen=True, slots=True)
class Cost:
    """`fields` are resolved once. `lists` are the parts that are resolved once for each row."""

    fields: int = 0
    lists: "tuple[tuple[Rows, Cost], ...]" = ()

    def of(self, variables: Mapping[str, Any]) -> int:
        """The number of fields with these variables."""
        fields = self.fields
        for rows, each in self.lists:
            fields += (rows if isinstance(rows, int) else rows.rows(variables)) * each.of(variables)
        return fields


class Costs:
    """Measures the operations of one valid document."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments

    def of(self, operation: OperationDefinitionNode) -> Cost:
        defaults = {
            definition.variable.name.value: definition.default_value.value
            for definition in operation.variable_definitions or ()
            if isinstance(definition.default_value, IntValueNode)
        }
        root = self._schema.get_root_type(operation.operation)
        assert root is not None  # the document is valid
        return self._of(operation.selection_set, root, UNPAGED_ROWS, defaults)

    def _of(
        self, selections: SelectionSetNode, parent: GraphQLNamedType, rows: Rows, defaults: Mapping[str, str]
    ) -> Cost:
        fields, lists = 0, list[tuple[Rows, Cost]]()
        for selection in selections.selections:
            match selection:
                case FieldNode():
                    inner = self._of_field(selection, parent, rows, defaults)
                case FragmentSpreadNode():
                    fragment = self._fragments[selection.name.value]
                    inner = self._of(fragment.selection_set, self._named(fragment, parent), rows, defaults)
                case InlineFragmentNode():
                    inner = self._of(selection.selection_set, self._named(selection, parent), rows, defaults)
                case _:
                    continue
            fields += inner.fields
            lists.extend(inner.lists)
        return Cost(fields, tuple(lists))

    def _of_field(self, node: FieldNode, parent: GraphQLNamedType, rows: Rows, defaults: Mapping[str, str]) -> Cost:
        field = self._schema.get_field(cast("GraphQLObjectType", parent), node.name.value)
        if field is None or node.selection_set is None:
            return Cost(1 if field is None else _cost_of(field))
        if PAGE_ARGUMENT in field.args:
            rows = _rows_of(node, defaults, field.args[PAGE_ARGUMENT].default_value)
        of_list = _is_list(field.type)
        # The page's argument bounds its own list. Lists within its rows are bounded by nothing again.
        inner_rows = UNPAGED_ROWS if of_list else rows
        inner = self._of(node.selection_set, get_named_type(field.type), inner_rows, defaults)
        return Cost(1, ((rows, inner),)) if of_list else Cost(1 + inner.fields, inner.lists)

    def _named(self, node: FragmentDefinitionNode | InlineFragmentNode, parent: GraphQLNamedType) -> GraphQLNamedType:
        condition = node.type_condition
        return parent if condition is None else self._schema.type_map[condition.name.value]


def _cost_of(field: GraphQLField) -> int:
    definition = strawberry_field(field)
    return 1 if definition is None else int(definition.metadata.get("cost", 1))


def _rows_of(node: FieldNode, defaults: Mapping[str, str], default: Any) -> Rows:
    """The rows that a field's PAGE_ARGUMENT asks for, or `default` of the schema."""
    for argument in node.arguments or ():
        if argument.name.value == PAGE_ARGUMENT:
            if isinstance(argument.value, IntValueNode):
                return _bounded(int(argument.value.value))
            if isinstance(argument.value, VariableNode):
                name = argument.value.name.value
                return Variable(name, _bounded(int(defaults[name])) if name in defaults else MAX_ROWS)
    return _bounded(default if isinstance(default, int) else MAX_ROWS)


def _bounded(rows: int) -> int:
    return max(0, min(rows, MAX_ROWS))


def _is_list(kind: GraphQLOutputType) -> bool:
    return isinstance(get_nullable_type(kind), GraphQLList)
