"""The arguments of a field. graphql-core's `get_argument_values` is the reference, and makes the errors."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    GraphQLNonNull,
    Undefined,
    VariableNode,
    get_nullable_type,
    is_leaf_type,
    visit,
)
from graphql.execution.values import VariableValues, get_argument_values
from graphql.language import Visitor
from graphql.type import is_required_argument

Arguments: TypeAlias = Callable[[VariableValues], Mapping[str, Any]]
"""Returns the arguments by name; they are not to be changed. Raises GraphQLError."""

_NO_VARIABLES = VariableValues({}, {})


def compile_arguments(definition: GraphQLField, node: FieldNode) -> Arguments:
    """How the arguments of a field of an operation are read from the variables."""

    def read(variables: VariableValues) -> Mapping[str, Any]:
        return get_argument_values(definition, node, variables)

    passed: dict[str, str] = {}
    fixed: dict[str, GraphQLArgument] = {}
    nodes = {argument.name.value: argument.value for argument in node.arguments or ()}
    for name, argument in definition.args.items():
        value = nodes.get(name)
        if isinstance(value, VariableNode):
            passed[name] = value.name.value
        elif value is None or not _has_variable(value):
            fixed[name] = argument
        else:
            return read
    try:
        values = get_argument_values(GraphQLField(definition.type, fixed), node, _NO_VARIABLES)
    except Exception:  # raised again in each execution, as the field's error
        return read
    if not all(values.get(each.out_name or name) is None or _is_shared(each) for name, each in fixed.items()):
        return read
    return _from_variables(definition, passed, values, read) if passed else lambda _: values


def _from_variables(
    definition: GraphQLField, passed: dict[str, str], fixed: Mapping[str, Any], read: Arguments
) -> Arguments:
    """Arguments of which some are variables of the operation. `passed`: the variables by the name of the argument."""
    arguments = [
        (
            argument.out_name or name,
            passed.get(name),
            isinstance(argument.type, GraphQLNonNull) or is_required_argument(argument),
        )
        for name, argument in definition.args.items()
    ]

    def read_passed(variables: VariableValues) -> Mapping[str, Any]:
        coerced, values = variables.coerced, dict[str, Any]()
        for name, variable, required in arguments:  # in the order of the definition, as graphql-core has them
            value = fixed.get(name, Undefined) if variable is None else coerced.get(variable, Undefined)
            if value is not Undefined and not (value is None and required):
                values[name] = value
            elif variable is not None:
                return read(variables)
        return values

    return read_passed


def _is_shared(argument: GraphQLArgument) -> bool:
    """Whether executions may share a value of the argument: a resolver could change a list or an object."""
    return is_leaf_type(get_nullable_type(argument.type))


class _FindVariable(Visitor):
    found = False

    def enter_variable(self, *_: Any) -> Any:
        self.found = True
        return self.BREAK


def _has_variable(value: Any) -> bool:
    finder = _FindVariable()
    visit(value, finder)
    return finder.found
