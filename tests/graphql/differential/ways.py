"""The two ways to execute an operation: as the server does, and as graphql-core does. Only this module knows how."""

import re
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import orjson
import strawberry
from graphql import GraphQLSchema, execute, execute_subscription_event
from strawberry.execution import optimized_is_awaitable

from api.graphql.context import Context
from api.graphql.documents import Document, Documents
from api.graphql.execution import Executor, format_errors, response_of
from api.graphql.reference import ReferenceExecution
from api.graphql.validation import MAX_ERRORS
from tests.graphql.differential.script import BeginningLoop, CountingLoop, Scripted, Step, drive
from tests.graphql.documents import turns

R = TypeVar("R")

_SETTINGS: dict[str, Any] = {
    "is_awaitable": optimized_is_awaitable,
    "operation_extensions": None,
    "max_coercion_errors": MAX_ERRORS,
}
"""The settings of the server's executions."""

_REFERENCE = re.compile(rb'(?<=the reference )[0-9a-f]{12}|(?<="requestId":")[0-9a-f]{12}')


@dataclass(frozen=True)
class Request:
    """An operation of a document, to be executed."""

    document: Document
    operation_name: str | None = None
    variables: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Answer:
    """What an execution did.

    `body`: the response as it is sent, or the exception that left the execution. `steps`: the fields that waited, see
    `drive`. `calls`: the places whose resolvers were called, in order. `left`: the places of the fields that still
    waited when the response was complete.
    """

    body: bytes
    steps: list[Step] = field(compare=False)
    calls: list[str] = field(compare=False)
    left: frozenset[str] = field(compare=False)

    @property
    def response(self) -> dict[str, Any]:
        response: dict[str, Any] = orjson.loads(self.body)
        return response

    @property
    def shown(self) -> tuple[list[Step], list[str]]:
        """The steps and the calls of the fields that the response has. What became of the other fields is not defined:
        an error has removed them, and they can have been cancelled before they began, or after."""
        data = self.response.get("data") if self.body.startswith(b"{") else None
        steps = [
            Step(step.released, frozenset(place for place in step.waiting if _has(data, place)))
            for step in self.steps
            if _has(data, step.released)
        ]
        return steps, sorted(place for place in self.calls if _has(data, place))


class Ways:
    """Both ways to execute the operations of one schema."""

    def __init__(self, schema: strawberry.Schema | GraphQLSchema) -> None:
        if isinstance(schema, GraphQLSchema):
            schema = cast("strawberry.Schema", SimpleNamespace(_schema=schema))
        self.schema = schema._schema
        self.documents = Documents(self.schema, turns())
        self._executor = Executor(schema)
        self._loop = CountingLoop()
        self._their_loop = BeginningLoop()

    def close(self) -> None:
        self._loop.close()
        self._their_loop.close()

    def prepare(self, text: str) -> Document:
        """The document, which is executed both ways. Raises InvalidDocument."""
        return self.documents.prepare(text)

    def ours(self, request: Request, context: Scripted) -> Answer:
        """Execute an operation as the server does, in an event loop in which nothing else happens."""
        return self.run(_answer(self.execute(request, context), context))

    def run(self, running: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine in the event loop of the executions."""
        return self._loop.run_until_complete(running)

    def theirs(self, request: Request, context: Scripted) -> Answer:
        """Execute an operation by graphql-core, in the same way."""
        answer = _answer(self.execute_by_graphql_core(request, context), context)
        return self._their_loop.run_until_complete(answer)

    async def execute(self, request: Request, context: Context) -> bytes:
        """The response as the server makes it."""
        variables = None if request.variables is None else dict(request.variables)
        try:
            response: Any = await self._executor.execute(request.document, request.operation_name, variables, context)
        except Exception as refusal:
            errors = getattr(refusal, "errors", None)
            if errors is None:
                raise
            return orjson.dumps({"errors": format_errors(errors)})
        return _body(response)

    async def execute_by_graphql_core(self, request: Request, context: Context) -> bytes:
        """The response as graphql-core makes it."""
        result = execute(
            self.schema,
            request.document.syntax_tree,
            context_value=context,
            variable_values=None if request.variables is None else dict(request.variables),
            operation_name=request.operation_name,
            executor_class=ReferenceExecution,
            **_SETTINGS,
        )
        return orjson.dumps(response_of(await result if isawaitable(result) else result))

    async def event_by_ours(self, request: Request, context: Context, event: object) -> bytes:
        """The response to an event of a subscription, as the server makes it."""
        variables = None if request.variables is None else dict(request.variables)
        subscription = await self._executor.subscribe(request.document, request.operation_name, variables, context)
        try:
            return _body(await subscription.respond(event))
        finally:
            await subscription.events.aclose()

    async def event_by_graphql_core(self, request: Request, context: Context, event: object) -> bytes:
        """The response to an event of a subscription, as graphql-core makes it."""
        execution = ReferenceExecution.build(
            self.schema,
            request.document.syntax_tree,
            context_value=context,
            raw_variable_values=None if request.variables is None else dict(request.variables),
            operation_name=request.operation_name,
            **_SETTINGS,
        )
        assert isinstance(execution, ReferenceExecution), execution
        result = execute_subscription_event(execution.build_per_event_executor(event))
        return orjson.dumps(response_of(await result if isawaitable(result) else result))


def _body(response: Any) -> bytes:
    """The body of a response, which an execution returns encoded or not."""
    if isinstance(response, dict):
        return orjson.dumps(response)
    body: bytes = response if isinstance(response, bytes) else response.body
    return body


async def _answer(execution: Coroutine[Any, Any, bytes], context: Scripted) -> Answer:
    async def body() -> bytes:
        try:
            return without_references(await execution)
        except BaseException as error:
            return f"{type(error).__name__}: {error}".encode()

    sent, steps, left = await drive(body(), context)
    return Answer(sent, steps, context.calls, left)


def without_references(body: bytes) -> bytes:
    """A response that can be compared: every defect has a random reference."""
    return _REFERENCE.sub(b"", body)


def _has(data: Any, place: str) -> bool:
    """Whether the response's data has the object or list that has this place."""
    *parents, _ = re.split("[/~]", place)
    for key in parents:
        if data is None:
            return False
        data = data[int(key) if isinstance(data, list) else key]
    return data is not None
