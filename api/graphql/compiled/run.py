"""One execution of a compiled operation."""

from asyncio import CancelledError, Future, current_task, gather
from collections.abc import Coroutine, Generator, Sequence
from dataclasses import dataclass
from types import CoroutineType, coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from graphql import (
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import FragmentDetails
from graphql.execution.values import VariableValues
from graphql.pyutils import Path, gather_with_cancel
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import _OperationContextAwareGraphQLResolveInfo as ResolveInfo

from api.graphql.context import Context
from api.graphql.reference import ReferenceExecution

if TYPE_CHECKING:
    from api.graphql.compiled.selection import Field

K = TypeVar("K", str, int)
R = TypeVar("R")


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """What an operation was compiled from."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    details: dict[str, FragmentDetails]
    """The fragments as graphql-core's `collect_fields` takes them."""


class Run:
    """One execution: its variables, its context, and its errors."""

    __slots__ = ("_background", "_reference", "context", "source", "value", "variables")

    def __init__(self, source: Source, variables: VariableValues, context: Context, value: Any) -> None:
        """`value`: the root value, which is the event of a subscription, and otherwise None."""
        self.source = source
        self.variables = variables
        self.context = context
        self.value = value
        self._reference: ReferenceExecution | None = None
        self._background: list[Future[Any]] = []

    @property
    def errors(self) -> list[GraphQLError]:
        """The errors of the fields, in the order in which they came."""
        return [] if self._reference is None else self._reference.collected_errors.errors

    @property
    def reference(self) -> ReferenceExecution:
        """graphql-core's own execution, for what is rare. It collects the errors."""
        if self._reference is None:
            source = self.source
            self._reference = ReferenceExecution(
                source.schema,
                source.fragments,
                source.details,
                self.value,
                self.context,
                source.operation,
                self.variables,
                default_field_resolver,
                default_type_resolver,
                default_field_resolver,
            )
        return self._reference

    def info(self, field: "Field", path: Path) -> ResolveInfo:
        """What a resolver learns about the execution and its field."""
        source = self.source
        return ResolveInfo(
            field.field_name,
            field.nodes,
            field.type,
            field.parent,
            path,
            source.schema,
            source.fragments,
            self.value,
            source.operation,
            self.variables.coerced,
            self.context,
            optimized_is_awaitable,
            None,
            None,
            None,  # type: ignore[arg-type]  # extensions of the request, which nothing here reads
        )

    def metered(self, completing: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """A coroutine that gets a task of its own, charged to the client: the operation's own task works no more
        then."""
        return certain_to_begin(self.context.gate.metered(self.context.client, completing))

    async def fill(self, completed: Any, waiting: Sequence[K]) -> Any:
        """Replace the values that are coroutines by what they return. `waiting`: their keys or indexes."""
        if len(waiting) == 1:
            [key] = waiting
            completed[key] = await completed[key]
        else:
            await self.fill_in_tasks(completed, waiting)
        return completed

    async def fill_in_tasks(self, completed: Any, waiting: Sequence[K]) -> None:
        """The same, with a task for each coroutine. When one raises, the others are cancelled."""
        values = await gather_with_cancel(*(self.metered(completed[key]) for key in waiting))
        for key, value in zip(waiting, values, strict=True):
            completed[key] = value

    def settle(self, left: Sequence[Coroutine[Any, Any, Any]]) -> None:
        """Let coroutines end whose values are not needed any more, since a field beside them failed. graphql-core does
        the same, so that none of them is left without having been awaited."""
        if left:
            self._background.append(gather(*map(self.metered, left), return_exceptions=True))


def certain_to_begin(running: Coroutine[Any, Any, R]) -> Coroutine[Any, Any, R]:
    """A coroutine for a task, which begins `running` even if the task is cancelled before its first step. The task is
    cancelled at the first future that `running` awaits then. Without its first step, `running` would never await the
    coroutines that it has in it."""
    begun = _begin(running)
    begun.send(None)  # up to the pause, where a cancellation can be caught
    return begun


async def _begin(running: Coroutine[Any, Any, R]) -> R:
    try:
        await _pause()
    except CancelledError:
        if (task := current_task()) is not None:
            task.cancel()
    return await running


@coroutine
def _pause() -> Generator[None, None, None]:
    yield


def is_coroutine(value: Any) -> bool:
    """Whether a completed value is still to be awaited. Only this package's own coroutines are among those values."""
    return type(value) is CoroutineType
