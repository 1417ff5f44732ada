"""Execution: runs a prepared document against the schema, and makes a response of the result.

Strawberry makes the schema and its resolvers; graphql-core executes it here directly. What Strawberry adds per request
(extensions, its own result types) is not used here and costs a third of the time.
"""

from asyncio import gather
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sized
from dataclasses import dataclass
from inspect import isawaitable
from time import perf_counter
from typing import Any, TypeVar, cast

import orjson
import strawberry
from graphql import (
    ExecutionResult,
    GraphQLError,
    GraphQLOutputType,
    GraphQLResolveInfo,
    create_source_event_stream,
    execute,
    execute_subscription_event,
)
from graphql.pyutils import AwaitableOrValue, Path, gather_with_cancel
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from api.graphql.context import Context
from api.graphql.documents import Document
from api.graphql.errors import format_error
from api.graphql.validation import MAX_ERRORS
from api.identity.turns import LENGTH

R = TypeVar("R")

PIECE = 10
"""A list of so many items is completed in one piece, without checking the time. A row with all its fields takes 0.1 ms
(measured on 2 shared cores)."""

KEPT_ANSWERS = 20
"""Answers to introspection that are kept. The answer to the standard query has 45 kB."""


class _Execution(StrawberryGraphQLCoreExecutionContext):
    """One execution. It leaves no reference cycle, and completes its lists in turns with other work.

    graphql-core's execution refers to helpers for resolvers with work in the background, and they refer back to it. No
    resolver here has such work. The cycle would leave 57 objects of each purchase to the garbage collector, which takes
    a sixth of the server's time under load.

    Borrowed from Strawberry: StrawberryGraphQLCoreExecutionContext, which has no documentation. From graphql-core:
    `async_helpers`, and the parameters of the overridden methods. See tests/test_borrowed.py.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.async_helpers = None  # type: ignore[assignment]
        self._piece_begun = perf_counter()

    def complete_iterable_value(
        self,
        item_type: GraphQLOutputType,
        field_details_list: Any,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> AwaitableOrValue[list[Any]]:
        if isinstance(items, Sized) and len(items) <= PIECE:
            return super().complete_iterable_value(item_type, field_details_list, info, path, items, position_context)
        return self._metered(
            self._complete_in_pieces(item_type, field_details_list, info, path, items, position_context)
        )

    def complete_awaitable_value(self, *arguments: Any) -> Coroutine[Any, Any, Any]:
        """Several fields that wait run in tasks of their own. Each task is metered, since the operation's own task does
        no work then."""
        return self._metered(super().complete_awaitable_value(*arguments))

    def _metered(self, completing: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
        context: Context = self.context_value
        return context.gate.metered(context.client, completing)

    async def _complete_in_pieces(
        self,
        item_type: GraphQLOutputType,
        field_details_list: Any,
        info: GraphQLResolveInfo[Any],
        path: Path,
        items: Iterable[Any],
        position_context: Any,
    ) -> list[Any]:
        """Complete a list as graphql-core does, and leave the event loop to other work whenever a turn is over."""
        self._piece_begun = perf_counter()  # reading the list took no CPU time here
        completed: list[Any] = []
        awaitable: list[int] = []
        try:
            for index, item in enumerate(items):
                await self._pay()
                item_path = path.add_key(index, None)
                if self.complete_list_item_value(
                    item, completed, item_type, field_details_list, info, item_path, position_context
                ):
                    awaitable.append(index)
        except Exception:  # such as RateLimited, without a turn in time; items that wait must be awaited all the same
            await gather(*(completed[index] for index in awaitable), return_exceptions=True)
            raise
        if awaitable:
            values = await gather_with_cancel(*(completed[index] for index in awaitable))
            for index, value in zip(awaitable, values, strict=True):
                completed[index] = value
        return completed

    async def _pay(self) -> None:
        used = perf_counter() - self._piece_begun
        if used >= LENGTH:
            context: Context = self.context_value
            await context.turns.pay(context.client, used)
            self._piece_begun = perf_counter()


class CannotSubscribe(Exception):
    """The subscription cannot begin; `errors` say why."""

    def __init__(self, errors: list[GraphQLError]) -> None:
        super().__init__(errors[0].message)
        self.errors = errors


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription under way: the events of its source. The operation is executed once for each."""

    events: AsyncGenerator[Any]
    _execution: _Execution

    async def respond(self, event: Any) -> dict[str, Any]:
        """Execute the operation for an event and return the response, ready to be encoded."""
        result = execute_subscription_event(self._execution.build_per_event_executor(event))
        return response_of(await result if isawaitable(result) else result)


class Executor:
    """Runs the operations of one schema."""

    def __init__(self, schema: strawberry.Schema) -> None:
        # Strawberry has no public way to its graphql-core schema.
        self.schema = schema._schema
        self._kwargs: dict[str, Any] = {
            "is_awaitable": optimized_is_awaitable,
            "operation_extensions": None,
            "max_coercion_errors": MAX_ERRORS,
        }
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
        if operation is None or not operation.introspects or variables:
            return await self._execute(document, operation_name, variables, context)
        key = document.text, operation_name
        if key in self._answers:
            self._answers.move_to_end(key)
            return {"data": self._answers[key]}
        response = await self._execute(document, operation_name, variables, context)
        if "errors" not in response:
            self._answers[key] = orjson.Fragment(orjson.dumps(response["data"]))
            if len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        return response

    async def _execute(
        self,
        document: Document,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        context: Context,
    ) -> dict[str, Any]:
        result = execute(
            self.schema,
            document.syntax_tree,
            context_value=context,
            variable_values=variables,
            operation_name=operation_name,
            executor_class=_Execution,
            **self._kwargs,
        )
        return response_of(await result if isawaitable(result) else result)

    async def subscribe(
        self,
        document: Document,
        operation_name: str | None,
        variables: dict[str, Any] | None,
        context: Context,
    ) -> Subscription:
        """Begin a subscription. Raises CannotSubscribe. Later errors of its source are raised by its `events`."""
        execution = _Execution.build(
            self.schema,
            document.syntax_tree,
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
    """The entries of `errors`. Tracebacks are removed: they refer to the execution, which refers to the errors."""
    entries = [format_error(error) for error in errors]
    for error in errors:
        for each in (error, error.original_error):
            if each is not None:
                each.__traceback__ = each.__cause__ = each.__context__ = None
    return entries
