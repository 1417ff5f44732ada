"""The variables of an operation: how each is coerced is worked out once.

graphql-core's `get_variable_values` is the reference. It also makes the errors: for variables that are not valid it
runs as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from graphql import (
    GraphQLError,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    GraphQLString,
    OperationDefinitionNode,
    Undefined,
    get_nullable_type,
    is_leaf_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values
from graphql.type import GraphQLBoolean, GraphQLID, is_required_input_field
from graphql.utilities.coerce_input_value import coerce_default_value, coerce_input_value

from api.graphql.validation import MAX_ERRORS

Coerce: TypeAlias = Callable[[Any], Any]
"""Returns the coerced value; Undefined when the value is not valid."""

AS_THEY_ARE: dict[Any, type] = {
    GraphQLString.coerce_input_value: str,
    GraphQLID.coerce_input_value: str,
    GraphQLBoolean.coerce_input_value: bool,
}
"""The Python type of values that a scalar's coercion returns unchanged, by the coercion."""


class Unsupported(Exception):
    """graphql-core has to coerce the variables of the operation."""


@dataclass(frozen=True, slots=True)
class _Variable:
    """A variable of the operation. `default` is Undefined where it has none."""

    signature: GraphQLVariableSignature
    coerce: Coerce
    default: Any
    required: bool


class Variables:
    """Coerces the variables of one operation."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        self._variables: dict[str, _Variable] | None
        try:
            self._variables = {
                definition.variable.name.value: _variable(get_variable_signature(schema, definition))
                for definition in self._definitions
            }
        except Unsupported:
            self._variables = None

    def coerce(self, inputs: dict[str, Any]) -> VariableValues | list[GraphQLError]:
        """The values of the variables; the errors when some are not valid."""
        if self._variables is None:
            return self._coerce_by_reference(inputs)
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for name, variable in self._variables.items():
            value = inputs.get(name, Undefined)
            sources[name] = VariableValueSource(variable.signature, value)
            if value is not Undefined:
                coerced_value = variable.coerce(value)
                if coerced_value is Undefined:
                    return self._coerce_by_reference(inputs)
                coerced[name] = coerced_value
            elif variable.default is not Undefined:
                coerced[name] = variable.default
            elif variable.required:
                return self._coerce_by_reference(inputs)
        return VariableValues(sources, coerced)

    def _coerce_by_reference(self, inputs: dict[str, Any]) -> VariableValues | list[GraphQLError]:
        return get_variable_values(self._schema, self._definitions, inputs, max_errors=MAX_ERRORS)


def _variable(signature: GraphQLVariableSignature | GraphQLError) -> _Variable:
    """Raises Unsupported."""
    if isinstance(signature, GraphQLError):
        raise Unsupported
    required = isinstance(signature.type, GraphQLNonNull)
    return _Variable(signature, _coercion(signature.type, ()), default_of(signature), required)


def default_of(definition: GraphQLVariableSignature | GraphQLInputField) -> Any:
    """The coerced default value; Undefined if there is none. Raises Unsupported for a default that is a list or an
    object: requests must not share those."""
    try:
        default = coerce_default_value(definition)
    except TypeError:  # a default that is not valid
        raise Unsupported from None
    if default is not None and default is not Undefined and not is_leaf_type(get_nullable_type(definition.type)):
        raise Unsupported
    return default


def _coercion(kind: GraphQLInputType, within: tuple[GraphQLInputObjectType, ...]) -> Coerce:
    """How a value of this type is coerced. `within`: the input objects around it. Raises Unsupported."""
    nullable = get_nullable_type(kind)
    if isinstance(nullable, GraphQLInputObjectType):
        if nullable in within or nullable.is_one_of:  # graphql-core bounds the depth of a type that contains itself
            raise Unsupported
        coerce = _object_coercion(nullable, within)
    elif isinstance(nullable, GraphQLList):
        coerce = _list_coercion(nullable, within)
    else:
        coerce = _leaf_coercion(cast("GraphQLLeafType", nullable))
    null = Undefined if isinstance(kind, GraphQLNonNull) else None
    return lambda value: null if value is None else coerce(value)


def _leaf_coercion(kind: GraphQLLeafType) -> Coerce:
    coerce_leaf = kind.coerce_input_value
    unchanged = AS_THEY_ARE.get(coerce_leaf)

    def coerce(value: Any) -> Any:
        if type(value) is unchanged:
            return value
        try:
            return coerce_leaf(value)
        except Exception:
            return Undefined

    return coerce


def _list_coercion(kind: GraphQLList[Any], within: tuple[GraphQLInputObjectType, ...]) -> Coerce:
    coerce_item = _coercion(kind.of_type, within)

    def coerce(value: Any) -> Any:
        if type(value) is not list:  # such as a single value, which stands for a list of one
            return coerce_input_value(value, kind)
        items = [coerce_item(item) for item in value]
        return Undefined if any(item is Undefined for item in items) else items

    return coerce


def _object_coercion(kind: GraphQLInputObjectType, within: tuple[GraphQLInputObjectType, ...]) -> Coerce:
    fields = [
        (
            name,
            field.out_name or name,
            _coercion(field.type, (*within, kind)),
            default_of(field),
            is_required_input_field(field),
        )
        for name, field in kind.fields.items()
    ]
    names = kind.fields.keys()

    def coerce(value: Any) -> Any:
        if not isinstance(value, dict) or not value.keys() <= names:
            return Undefined
        coerced: dict[str, Any] = {}
        for name, out_name, coerce_field, default, required in fields:
            given = value.get(name, Undefined)
            if given is not Undefined:
                coerced_field = coerce_field(given)
                if coerced_field is Undefined:
                    return Undefined
                coerced[out_name] = coerced_field
            elif required:
                return Undefined
            elif default is not Undefined:
                coerced[out_name] = default
        return kind.out_type(coerced)

    return coerce
