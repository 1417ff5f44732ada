"""Execution: a prepared document runs against the schema, and its result becomes what is sent.

Strawberry makes the schema and its resolvers; graphql-core executes it here directly, because what Strawberry
adds per request (extensions, its own result types) is of no use to us and costs a third of the time.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any, cast

import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLError,
    create_source_event_stream,
    execute,
    execute_subscription_event,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from api.graphql.context import Context
from api.graphql.documents import MAX_ERRORS
from api.graphql.errors import format_error


class _Execution(StrawberryGraphQLCoreExecutionContext):
    """One execution, that the interpreter can free as soon as it is over.

    graphql-core's refers to helpers for resolvers with work in the background, and they refer back to it. We have no
    such resolvers, and such a circle is left to the garbage collector: 57 objects for each purchase, and a sixth of
    the server's time under load to find them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.async_helpers = None  # type: ignore[assignment]


class CannotSubscribe(Exception):
    """The subscription cannot begin; `errors` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription under way: the events of its source, each to be answered by an execution of the operation."""

    events: AsyncGenerator[Any]
    _execution: _Execution

    async def respond(self, event: Any) -> dict[str, Any]:
        """Execute the operation on an event and return its response, ready to be encoded."""
        result = execute_subscription_event(self._execution.build_per_event_executor(event))
        return response_of(await result if isawaitable(result) else result)


class Executor:
    """Runs the operations of one schema."""

    def __init__(self, schema: strawberry.Schema) -> None:
        # The one place that reaches for Strawberry's graphql-core schema and its way to execute it.
        self.schema = schema._schema
        self._kwargs: dict[str, Any] = {
            "is_awaitable": optimized_is_awaitable,
            "operation_extensions": None,
            "max_coercion_errors": MAX_ERRORS,
        }

    async def execute(
        self,
        document: DocumentNode,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        context: Context,
    ) -> dict[str, Any]:
        """Run a query or mutation and return its response, ready to be encoded."""
        result = execute(
            self.schema,
            document,
            context_value=context,
            variable_values=variables,
            operation_name=operation_name,
            executor_class=_Execution,
            **self._kwargs,
        )
        return response_of(await result if isawaitable(result) else result)

    async def subscribe(
        self,
        document: DocumentNode,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        context: Context,
    ) -> Subscription:
        """Begin a subscription. Raises CannotSubscribe; what its source fails with later comes from its events."""
        execution = _Execution.build(
            self.schema,
            document,
            context_value=context,
            raw_variable_values=variables,
            operation_name=operation_name,
            **self._kwargs,
        )
        if isinstance(execution, list):
            raise CannotSubscribe(execution)
        started = create_source_event_stream(execution)
        source = await started if isawaitable(started) else started
        if isinstance(source, ExecutionResult):
            raise CannotSubscribe(source.errors or [])
        return Subscription(cast("AsyncGenerator[Any]", source), cast("_Execution", execution))


def response_of(result: ExecutionResult) -> dict[str, Any]:
    """The response map. A request that failed before any field was resolved has no `data` entry, as the
    specification has it."""
    if not result.errors:
        return {"data": result.data}
    errors = format_errors(result.errors)
    if result.data is None and not any(error.path for error in result.errors):
        return {"errors": errors}
    return {"data": result.data, "errors": errors}


def format_errors(errors: list[GraphQLError]) -> list[dict[str, Any]]:
    return [format_error(error) for error in errors]
