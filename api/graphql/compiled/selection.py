"""Selections: the fields of one object type that an operation selects, and how each is executed."""

from typing import Any, cast

from graphql import (
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_nullable_type,
    is_leaf_type,
)
from graphql.execution.collect_fields import FieldDetails, GroupedFieldSet, collect_subfields
from graphql.pyutils import Path
from graphql.type import TypeNameMetaFieldDef
from strawberry.execution import optimized_is_awaitable
from strawberry.types.field import StrawberryField

from api.graphql.compiled.arguments import compile_arguments
from api.graphql.compiled.resolvers import compile_resolver, strawberry_field
from api.graphql.compiled.run import Run, is_coroutine
from api.graphql.compiled.values import completion, unchanged_type


class Field:
    """A field of a selection. `details`: the nodes of the document that select it under this name."""

    def __init__(
        self,
        schema: GraphQLSchema,
        name: str,
        details: list[FieldDetails],
        parent: GraphQLObjectType,
        definition: GraphQLField,
    ) -> None:
        self.name = name
        self.details = details
        self.nodes = [each.node for each in details]
        self.field_name = self.nodes[0].name.value
        self.parent = parent
        self.type = definition.type
        self._parent_name = parent.name
        self._resolve = compile_resolver(definition, schema)
        self._arguments = compile_arguments(definition, self.nodes[0])
        self._complete = completion(self.type, _Selections())

    def execute(self, run: Run, source: Any, path: Path | None) -> Any:
        """Resolve the field of the object `source`, and complete its value. Returns what the response has, or a
        coroutine that returns it. Raises GraphQLError when a field that is not nullable failed."""
        here = Path(path, self.name, self._parent_name)
        info = run.info(self, here)
        try:
            value = self._resolve(source, info, **self._arguments(run.variables))
            if optimized_is_awaitable(value):
                return self._complete_later(run, here, info, value)
            completed = self._complete(run, self, here, info, value)
        except Exception as error:
            run.reference.handle_field_error(error, self.type, self.details, here)
            return None
        return self._wait(run, here, completed) if is_coroutine(completed) else completed

    async def _complete_later(self, run: Run, path: Path, info: Any, value: Any) -> Any:
        try:
            completed = self._complete(run, self, path, info, await value)
            return await completed if is_coroutine(completed) else completed
        except Exception as error:
            run.reference.handle_field_error(error, self.type, self.details, path)
            return None

    async def _wait(self, run: Run, path: Path, completing: Any) -> Any:
        try:
            return await completing
        except Exception as error:
            run.reference.handle_field_error(error, self.type, self.details, path)
            return None


class Attribute(Field):
    """A scalar or an enum that is an attribute of the object, as most fields of Strawberry's types are."""

    def __init__(
        self,
        schema: GraphQLSchema,
        name: str,
        details: list[FieldDetails],
        parent: GraphQLObjectType,
        definition: GraphQLField,
    ) -> None:
        super().__init__(schema, name, details, parent, definition)
        field = strawberry_field(definition)
        assert field is not None, "Strawberry has made the field"
        self._attribute = field.python_name
        self._unchanged = unchanged_type(self.type)
        self._coerce = cast("GraphQLLeafType", get_nullable_type(self.type)).coerce_output_value

    def execute(self, run: Run, source: Any, path: Path | None) -> Any:
        try:
            value = getattr(source, self._attribute)
            if type(value) is self._unchanged:
                return value
            coerced = None if _is_unusual(value) else self._coerce(value)
        except Exception:  # raised again in the general way, where it becomes the field's error
            coerced = None
        if coerced is None or coerced is Undefined:
            return super().execute(run, source, path)
        return coerced


class TypeName(Field):
    """The field `__typename`."""

    def execute(self, run: Run, source: Any, path: Path | None) -> Any:
        return self._parent_name


class Selection:
    """The fields that an operation selects from one object type."""

    def __init__(self, run: Run, parent: GraphQLObjectType, grouped: GroupedFieldSet) -> None:
        fields = {name: _field(run, name, details, parent) for name, details in grouped.items()}
        self.fields = [field for field in fields.values() if field is not None]

    def execute(self, run: Run, source: Any, path: Path | None) -> Any:
        """Execute all fields side by side. Returns the object of the response, or a coroutine that returns it."""
        completed: dict[str, Any] = {}
        waiting: list[str] = []
        try:
            for field in self.fields:
                value = completed[field.name] = field.execute(run, source, path)
                if is_coroutine(value):
                    waiting.append(field.name)
        except Exception:
            run.settle([completed[name] for name in waiting])
            raise
        return run.fill(completed, waiting) if waiting else completed

    async def execute_serially(self, run: Run, source: Any) -> dict[str, Any]:
        """Execute one field after the other, as the fields of a mutation are."""
        completed: dict[str, Any] = {}
        for field in self.fields:
            value = field.execute(run, source, None)
            completed[field.name] = await value if is_coroutine(value) else value
        return completed


class _Selections:
    """The selections of one field, by the object type of its value. Each is made when the first such value comes."""

    def __init__(self) -> None:
        self._selections: dict[str, Selection] = {}

    def __call__(self, run: Run, kind: GraphQLObjectType, field: Field) -> Selection:
        selection = self._selections.get(kind.name)
        if selection is None:
            source = run.source
            collected = collect_subfields(
                source.schema, source.details, run.variables, source.operation, kind, field.details
            )
            selection = self._selections[kind.name] = Selection(run, kind, collected.grouped_field_set)
        return selection


def _field(run: Run, name: str, details: list[FieldDetails], parent: GraphQLObjectType) -> Field | None:
    """The field; None if the type has no such field, which a valid document does not select."""
    schema = run.source.schema
    definition = schema.get_field(parent, details[0].node.name.value)
    if definition is None:
        return None
    if definition is TypeNameMetaFieldDef:
        return TypeName(schema, name, details, parent, definition)
    if is_leaf_type(get_nullable_type(definition.type)) and _is_attribute(strawberry_field(definition)):
        return Attribute(schema, name, details, parent, definition)
    return Field(schema, name, details, parent, definition)


def _is_unusual(value: Any) -> bool:
    """Whether the value is null, an error, or still to be awaited."""
    return value is None or value is Undefined or isinstance(value, Exception) or optimized_is_awaitable(value)


def _is_attribute(field: StrawberryField | None) -> bool:
    """Whether Strawberry reads the field as an attribute of the object: it has no resolver and no extension."""
    return field is not None and field.is_basic_field and field.default_resolver is getattr
