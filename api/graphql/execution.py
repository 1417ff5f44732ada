"""Execution: runs a prepared document against the schema, and makes a response of the result.

Strawberry makes the schema and its resolvers; graphql-core executes it here directly. What Strawberry adds per request
(extensions, its own result types) is not used here and costs a third of the time.
"""

from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, cast

import orjson
import strawberry
from graphql import (
    ExecutionResult,
    GraphQLError,
    create_source_event_stream,
)

from api.graphql.compiled.operation import CompiledOperation
from api.graphql.context import Context
from api.graphql.documents import Document
from api.graphql.errors import ErrorCode, format_error, mark_span
from api.graphql.reference import ReferenceExecution
from api.graphql.validation import MAX_ERRORS
from api.tracing.request_trace import RequestTrace

KEPT_ANSWERS = 20
"""Answers to introspection that are kept. The answer to the standard query has 45 kB."""


class CannotSubscribe(Exception):
    """The subscription cannot begin; `errors` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription under way: the events of its source. The operation is executed once for each."""

    events: AsyncGenerator[Any]
    _operation: CompiledOperation
    _variables: dict[str, Any] | None
    _context: Context

    async def respond(self, event: Any) -> dict[str, Any]:
        """Execute the operation for an event and return the response, ready to be encoded."""
        return response_of(await self._operation.execute(self._variables, self._context, event))


class Executor:
    """Runs the operations of one schema."""

    def __init__(self, schema: strawberry.Schema) -> None:
        # Strawberry has no public way to its graphql-core schema.
        self.schema = schema._schema
        self._answers: OrderedDict[tuple[str, str | None], orjson.Fragment] = OrderedDict()

    async def execute(
        self,
        document: Document,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        context: Context,
    ) -> dict[str, Any]:
        """Run a query or mutation and return its response, ready to be encoded."""
        operation = document.operations.get(operation_name)
        if operation is None:
            return response_of(self._explain(document, operation_name), context.trace)
        if not operation.introspects or variables:
            return response_of(await operation.compiled.execute(variables, context), context.trace)
        key = document.text, operation_name
        if key in self._answers:
            self._answers.move_to_end(key)
            return {"data": self._answers[key]}
        response = response_of(await operation.compiled.execute(variables, context), context.trace)
        if "errors" not in response:
            self._answers[key] = orjson.Fragment(orjson.dumps(response["data"]))
            if len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return response

    def _explain(self, document: Document, operation_name: str | None) -> ExecutionResult:
        """Why the document has no operation of this name."""
        built = ReferenceExecution.build(self.schema, document.syntax_tree, operation_name=operation_name)
        assert isinstance(built, list), "the document has no such operation"
        return ExecutionResult(None, built)

    async def subscribe(
        self,
        document: Document,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        context: Context,
    ) -> Subscription:
        """Begin a subscription. Raises CannotSubscribe. Later errors of its source are raised by its `events`."""
        execution = ReferenceExecution.build(
            self.schema,
            document.syntax_tree,
            context_value=context,
            raw_variable_values=variables,
            operation_name=operation_name,
            max_coercion_errors=MAX_ERRORS,
        )
        if isinstance(execution, list):
            raise CannotSubscribe(execution)
        started = create_source_event_stream(execution)
        source = await started if isawaitable(started) else started
        if isinstance(source, ExecutionResult):
            raise CannotSubscribe(source.errors or [])
        compiled = document.operations[operation_name].compiled
        return Subscription(cast("AsyncGenerator[Any]", source), compiled, variables, context)


def response_of(result: ExecutionResult, trace: RequestTrace | None = None) -> dict[str, Any]:
    """The response map. A request that failed before any field was resolved has no `data` entry, as the
    specification has it."""
    if not result.errors:
        return {"data": result.data}
    errors = format_errors(result.errors, trace)
    if result.data is None and not any(error.path for error in result.errors):
        return {"errors": errors}
    return {"data": result.data, "errors": errors}


def format_errors(
    errors: list[GraphQLError], trace: RequestTrace | None = None, code: ErrorCode = ErrorCode.BAD_USER_INPUT
) -> list[dict[str, Any]]:
    """The entries of `errors`. `code` is for errors from before the execution. Tracebacks are removed: they refer to
    the execution, which refers to the errors."""
    entries = [format_error(error, trace, code) for error in errors]
    if trace is not None and trace.span is not None:
        mark_span(trace.span, entries)
    for error in errors:
        for each in (error, error.original_error):
            if each is not None:
                each.__traceback__ = each.__cause__ = each.__context__ = None
    return entries
