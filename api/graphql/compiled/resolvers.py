"""Resolvers: the functions behind Strawberry's fields, without what Strawberry finds out anew in each call.

Strawberry's own resolver looks up the name and the type of each argument, and goes through a chain of extensions and
exception handlers that no field here has. That takes 20 us of a purchase (measured on 2 shared cores). The rest is done
here as Strawberry does it: Strawberry converts the arguments, and the function gets `self`, `info` and the arguments.
"""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from graphql import GraphQLField, GraphQLSchema, default_field_resolver
from strawberry.relay import GlobalID
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import (
    InputContext,
    StrawberryArgument,
    _is_leaf_type,
    _is_optional_leaf_type,
    convert_argument,
)
from strawberry.types.base import get_object_definition
from strawberry.types.field import StrawberryField

Resolve: TypeAlias = Callable[..., Any]
"""Takes the object, graphql-core's info and the arguments by their names in the schema."""

Convert: TypeAlias = Callable[[Any, Any], Any]
"""Takes a coerced value and Strawberry's info. Returns the argument of the function."""


def strawberry_field(definition: GraphQLField) -> StrawberryField | None:
    """Strawberry's definition of a field; None if Strawberry has not made the field."""
    field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return field if isinstance(field, StrawberryField) else None


def compile_resolver(definition: GraphQLField, schema: GraphQLSchema) -> Resolve:
    """The function that resolves a field."""
    field = strawberry_field(definition)
    if field is None or field.base_resolver is None or field.extensions or field.is_subscription:
        return definition.resolve or default_field_resolver
    converter: GraphQLCoreConverter = schema._strawberry_schema.schema_converter  # type: ignore[attr-defined]
    if converter.exception_handlers:
        return definition.resolve or default_field_resolver
    return _resolver(field, converter)


def _resolver(field: StrawberryField, converter: GraphQLCoreConverter) -> Resolve:
    function = field.base_resolver
    assert function is not None, "the field has a resolver"
    call, info_class = cast("Callable[..., Any]", function.wrapped_func), converter.config.info_class
    convert = {
        converter.config.name_converter.from_argument(argument): (
            argument.python_name,
            _conversion(argument, converter),
        )
        for argument in field.arguments
    }
    sources = [each.name for each in (function.parent_parameter, function.root_parameter) if each is not None]
    info_name = None if function.info_parameter is None else function.info_parameter.name
    bound = function.self_parameter is None

    def resolve(source: Any, raw_info: Any, **values: Any) -> Any:
        info = info_class(_raw_info=raw_info, _field=field)
        named = dict.fromkeys(sources, source)
        for name, value in values.items():
            python_name, converted = convert[name]
            named[python_name] = value if converted is None else converted(value, info)
        if info_name is not None:
            named[info_name] = info
        return call(**named) if bound else call(source, **named)

    return resolve


def _conversion(argument: StrawberryArgument, converter: GraphQLCoreConverter) -> Convert | None:
    """How a value becomes the argument; None for scalars, which stay as they are."""
    kind, registry = argument.type, converter.scalar_registry
    if any(is_leaf(kind, registry, skip_classes=(GlobalID,)) for is_leaf in (_is_leaf_type, _is_optional_leaf_type)):
        return None
    config = converter.config
    path = (config.name_converter.from_argument(argument),)
    definition = get_object_definition(kind)
    if definition is not None and definition.from_input is not None:
        return _from_input(cast("type", kind), definition.from_input, config, registry, path)

    def convert(value: Any, info: Any) -> Any:
        return convert_argument(value, kind, registry, config, info, path=path)

    return convert


def _from_input(kind: type, read: Callable[..., Any], config: Any, registry: Any, path: tuple[str, ...]) -> Convert:
    """The conversion of an input that reads its own values."""

    def convert(value: Any, info: Any) -> Any:
        return read(kind, value, InputContext(info=info, config=config, scalar_registry=registry, path=path))

    return convert
