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
    ListValueNode,
    NullValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
)

from api.drops.keyset import DEFAULT_PAGE
from api.graphql.compiled.resolvers import strawberry_field

MAX_COST = 2_000
"""Fields that an operation resolves at most: rows times the fields of a row. Each field takes some 10 µs (measured with
`products(first: 100)` on 2 shared cores), so that the most expensive operation takes 20 ms. A hundred products with all
their fields but the description have 1,805, and 50 with their descriptions 1,905."""

LONG: Mapping[str, int] = {"cost": 20}
"""The metadata of a field whose value can have thousands of characters: it counts as so many fields. 600 descriptions
of 5,000 Japanese characters are 9 MB, and took 19 ms in one step; those of one operation are 1.5 MB at most."""

SEARCHED: Mapping[str, Mapping[str, int]] = {"argument_costs": {"filter": 200}}
"""The metadata of a field with arguments that count as so many fields. A page of a filtered list can take PostgreSQL
7 ms, so that an operation has nine of them at most."""

MAX_ROWS = 100
"""Rows of a page at most: the limit of `first` and `last`, and of `ids`."""

UNPAGED_ROWS = 10
"""Rows that are assumed for a list that no argument bounds, such as the list of Regions."""

PAGE_ARGUMENTS = ("first", "last", "ids")
"""The arguments that bound the rows of a field's list: by their number, or by the length of a list."""


@dataclass(frozen=True, slots=True)
class Variable:
    """Rows that a variable of the operation asks for. `default` applies where the variable is left out; None where it
    has none."""

    name: str
    default: int | None

    def rows(self, variables: Mapping[str, Any]) -> int | None:
        """The rows, MAX_ROWS at most; None if the variable asks for none. Execution refuses a larger page, and a value
        of another type."""
        value = variables.get(self.name, self.default)
        if value is None or isinstance(value, int):
            return None if value is None else _bounded(value)
        return _bounded(len(value)) if isinstance(value, list) else MAX_ROWS


@dataclass(frozen=True, slots=True)
class Size:
    """The rows that several arguments ask for, of which one is a variable."""

    rows: "tuple[int | Variable, ...]"

    def of(self, variables: Mapping[str, Any]) -> int:
        """The most that one of them asks for; MAX_ROWS if none does."""
        each = [rows if isinstance(rows, int) else rows.rows(variables) for rows in self.rows]
        return max((rows for rows in each if rows is not None), default=MAX_ROWS)


Rows: TypeAlias = int | Size


@dataclass(frozen=True, slots=True)
class Cost:
    """`fields` are resolved once. `lists` are the parts that are resolved once for each row."""

    fields: int = 0
    lists: "tuple[tuple[Rows, Cost], ...]" = ()

    def of(self, variables: Mapping[str, Any]) -> int:
        """The number of fields with these variables."""
        fields = self.fields
        for rows, each in self.lists:
            fields += (rows if isinstance(rows, int) else rows.of(variables)) * each.of(variables)
        return fields


class Costs:
    """Measures the operations of one valid document."""

    def __init__(self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode]) -> None:
        self._schema = schema
        self._fragments = fragments

    def of(self, operation: OperationDefinitionNode) -> Cost:
        defaults = {
            definition.variable.name.value: _literal_rows(definition.default_value)
            for definition in operation.variable_definitions or ()
        }
        root = self._schema.get_root_type(operation.operation)
        assert root is not None  # the document is valid
        return self._of(operation.selection_set, root, UNPAGED_ROWS, defaults)

    def _of(
        self, selections: SelectionSetNode, parent: GraphQLNamedType, rows: Rows, defaults: Mapping[str, int | None]
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

    def _of_field(
        self, node: FieldNode, parent: GraphQLNamedType, rows: Rows, defaults: Mapping[str, int | None]
    ) -> Cost:
        field = self._schema.get_field(cast("GraphQLObjectType", parent), node.name.value)
        if field is None or node.selection_set is None:
            return Cost(1 if field is None else _cost_of(field))
        if not field.args.keys().isdisjoint(PAGE_ARGUMENTS):
            rows = _rows_of(node, defaults, field)
        searching = _cost_of_arguments(node, field)
        of_list = _is_list(field.type)
        # The page's argument bounds its own list. Lists within its rows are bounded by nothing again.
        inner_rows = UNPAGED_ROWS if of_list else rows
        inner = self._of(node.selection_set, get_named_type(field.type), inner_rows, defaults)
        if of_list:
            return Cost(1 + searching, ((rows, inner),))
        return Cost(1 + searching + inner.fields, inner.lists)

    def _named(self, node: FragmentDefinitionNode | InlineFragmentNode, parent: GraphQLNamedType) -> GraphQLNamedType:
        condition = node.type_condition
        return parent if condition is None else self._schema.type_map[condition.name.value]


def _cost_of(field: GraphQLField) -> int:
    definition = strawberry_field(field)
    return 1 if definition is None else int(definition.metadata.get("cost", 1))


def _cost_of_arguments(node: FieldNode, field: GraphQLField) -> int:
    definition = strawberry_field(field)
    costs = {} if definition is None else definition.metadata.get("argument_costs", {})
    return sum(costs.get(argument.name.value, 0) for argument in node.arguments or ())


def _rows_of(node: FieldNode, defaults: Mapping[str, int | None], field: GraphQLField) -> Rows:
    """The rows that a field's PAGE_ARGUMENTS ask for. Without one, the default of the schema, or of all lists."""
    sizes: list[int | Variable] = []
    for argument in node.arguments or ():
        if argument.name.value in PAGE_ARGUMENTS:
            value = argument.value
            if isinstance(value, VariableNode):
                sizes.append(Variable(value.name.value, defaults[value.name.value]))
            elif (rows := _literal_rows(value)) is not None:
                sizes.append(rows)
    if any(isinstance(size, Variable) for size in sizes):
        return Size(tuple(sizes))
    if sizes:
        return max(size for size in sizes if isinstance(size, int))
    default = field.args["first"].default_value if "first" in field.args else None
    return _bounded(default if isinstance(default, int) else DEFAULT_PAGE)


def _literal_rows(value: ValueNode | None) -> int | None:
    """The rows that a value of one of PAGE_ARGUMENTS asks for; None for null."""
    match value:
        case None | NullValueNode():
            return None
        case IntValueNode():
            return _bounded(int(value.value))
        case ListValueNode():
            return _bounded(len(value.values))
        case _:
            return MAX_ROWS


def _bounded(rows: int) -> int:
    return max(0, min(rows, MAX_ROWS))


def _is_list(kind: GraphQLOutputType) -> bool:
    return isinstance(get_nullable_type(kind), GraphQLList)
