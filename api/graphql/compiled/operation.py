"""Compiled operations: the entry of this package."""

from collections.abc import Iterator
from typing import Any

from graphql import (
    DirectiveNode,
    ExecutionResult,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    VariableNode,
    visit,
)
from graphql.execution.collect_fields import FragmentDetails, collect_fields
from graphql.execution.values import VariableValues
from graphql.language import Visitor

from api.graphql.compiled.run import Run, Source, is_coroutine
from api.graphql.compiled.selection import Selection
from api.graphql.compiled.variables import Variables
from api.graphql.context import Context

MAX_VARIANTS = 8
"""Variants of an operation that are kept: one for each combination of the variables of @skip and @include. A stranger's
operation can have twenty such variables, and a million combinations."""


class CompiledOperation:
    """An operation of a valid document. Each part is compiled when it is executed for the first time."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
    ) -> None:
        self.name = None if operation.name is None else operation.name.value
        details = {name: FragmentDetails(fragment) for name, fragment in fragments.items()}
        self._source = Source(schema, operation, fragments, details)
        self._variables = Variables(schema, operation)
        self._switches = sorted(set(_switches([operation, *fragments.values()])))
        self._variants: dict[tuple[Any, ...], Selection] = {}

    async def execute(
        self, variables: dict[str, Any] | None, context: Context, root_value: Any = None
    ) -> ExecutionResult:
        """Execute the operation, as graphql-core's `execute` does."""
        values = self._variables.coerce(variables or {})
        if isinstance(values, list):
            return ExecutionResult(None, values)
        run = Run(self._source, values, context, root_value)
        data: dict[str, Any] | None
        try:
            selection = self._selection(run, values)
            if self._source.operation.operation is OperationType.MUTATION:
                data = await selection.execute_serially(run, root_value)
            else:
                executed = selection.execute(run, root_value, None)
                data = await executed if is_coroutine(executed) else executed
        except GraphQLError as error:
            run.reference.collected_errors.add(error, None)
            data = None
        return ExecutionResult(data, run.errors or None)

    def _selection(self, run: Run, values: VariableValues) -> Selection:
        """The fields of the root that are selected with these variables. Raises GraphQLError."""
        variant = tuple(values.coerced.get(name) for name in self._switches)
        selection = self._variants.get(variant)
        if selection is None:
            source = self._source
            root = source.schema.get_root_type(source.operation.operation)
            assert root is not None, "a valid document"
            collected = collect_fields(source.schema, source.details, values, root, source.operation)
            if len(self._variants) == MAX_VARIANTS:
                self._variants.clear()
            selection = self._variants[variant] = Selection(run, root, collected.grouped_field_set)
        return selection


def _switches(definitions: list[OperationDefinitionNode | FragmentDefinitionNode]) -> Iterator[str]:
    """The names of the variables that decide what @skip and @include leave out."""
    for definition in definitions:
        finder = _FindSwitches()
        visit(definition, finder)
        yield from finder.names


class _FindSwitches(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def enter_directive(self, node: DirectiveNode, *_: Any) -> None:
        values = [argument.value for argument in node.arguments or ()]
        self.names += [value.name.value for value in values if isinstance(value, VariableNode)]
