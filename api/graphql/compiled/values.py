"""Values: how what a resolver returns becomes part of the response, by the type of its field.

The rules are those of "Value Completion" in the GraphQL specification.
"""

from asyncio import gather
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeAlias

from graphql import (
    GraphQLInterfaceType,
    GraphQLLeafType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLString,
    GraphQLUnionType,
    Undefined,
    default_type_resolver,
)
from graphql.execution.executor import Executor as CoreExecutor
from graphql.execution.executor import invalid_return_type_error
from graphql.pyutils import Path
from graphql.type import GraphQLBoolean, GraphQLID
from strawberry.execution import optimized_is_awaitable

from api.graphql.compiled.run import Run, is_coroutine
from api.graphql.reference import PIECE, Pieces

if TYPE_CHECKING:
    from api.graphql.compiled.selection import Field, Selection

Complete: TypeAlias = "Callable[[Run, Field, Path, Any, Any], Any]"
"""Completes a value: takes the run, the field, the path, the resolver's info and the value. Returns what the response
has, or a coroutine that returns it. Raises what becomes the error of the field, or of the item of a list.

It takes the field and does not refer to it: a field refers to its completion, and a document that is not kept must
leave no reference cycle."""

SelectionOf: TypeAlias = "Callable[[Run, GraphQLObjectType, Field], Selection]"
"""The selection of a field for an object type. Raises GraphQLError."""

AS_THEY_ARE: dict[Any, type] = {
    GraphQLString.coerce_output_value: str,
    GraphQLID.coerce_output_value: str,
    GraphQLBoolean.coerce_output_value: bool,
}
"""The Python type of values that a scalar's coercion returns unchanged, by the coercion."""


def unchanged_type(kind: GraphQLOutputType) -> type | None:
    """The Python type of values that are in the response as they are; None for a type without such values."""
    nullable = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    return AS_THEY_ARE.get(getattr(nullable, "coerce_output_value", None))


def completion(kind: GraphQLOutputType, selection_of: SelectionOf) -> Complete:
    """How values of this type are completed."""
    complete: Complete
    match kind:
        case GraphQLNonNull():
            return _non_null(completion(kind.of_type, selection_of))
        case GraphQLList():
            complete = _List(kind, selection_of)
        case GraphQLObjectType():
            complete = _object(kind, selection_of)
        case GraphQLInterfaceType() | GraphQLUnionType():
            complete = _abstract(kind, selection_of)
        case _:
            complete = _leaf(kind)

    def complete_value(run: Run, field: "Field", path: Path, info: Any, value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        if value is None or value is Undefined:
            return None
        return complete(run, field, path, info, value)

    return complete_value


def _non_null(complete: Complete) -> Complete:
    def complete_value(run: Run, field: "Field", path: Path, info: Any, value: Any) -> Any:
        completed = complete(run, field, path, info, value)
        if completed is None:
            raise TypeError(f"Cannot return null for non-nullable field {field.parent}.{field.field_name}.")
        return completed

    return complete_value


def _leaf(kind: GraphQLLeafType) -> Complete:
    def complete_value(run: Run, field: "Field", path: Path, info: Any, value: Any) -> Any:
        return CoreExecutor.complete_leaf_value(kind, value)

    return complete_value


def _object(kind: GraphQLObjectType, selection_of: SelectionOf) -> Complete:
    is_type_of = kind.is_type_of
    if is_type_of is None:

        def complete_object(run: Run, field: "Field", path: Path, info: Any, value: Any) -> Any:
            return selection_of(run, kind, field).execute(run, value, path)

        return complete_object

    async def complete_later(run: Run, field: "Field", path: Path, value: Any, verdict: Any) -> Any:
        if not await verdict:
            raise invalid_return_type_error(kind, value, field.details)
        completed = selection_of(run, kind, field).execute(run, value, path)
        return await completed if is_coroutine(completed) else completed

    def complete_checked_object(run: Run, field: "Field", path: Path, info: Any, value: Any) -> Any:
        verdict = is_type_of(value, info)
        if optimized_is_awaitable(verdict):
            return complete_later(run, field, path, value, verdict)
        if not verdict:
            raise invalid_return_type_error(kind, value, field.details)
        return selection_of(run, kind, field).execute(run, value, path)

    return complete_checked_object


def _abstract(kind: GraphQLInterfaceType | GraphQLUnionType, selection_of: SelectionOf) -> Complete:
    resolve_type = kind.resolve_type or default_type_resolver
    by_name: dict[str, Complete] = {}

    def complete_as(run: Run, field: "Field", path: Path, info: Any, value: Any, name: Any) -> Any:
        complete = by_name.get(name) if isinstance(name, str) else None
        if complete is None:
            runtime_type = run.reference.ensure_valid_runtime_type(name, kind, field.details, info, value)
            complete = by_name[name] = _object(runtime_type, selection_of)
        return complete(run, field, path, info, value)

    async def complete_later(run: Run, field: "Field", path: Path, info: Any, value: Any, name: Any) -> Any:
        completed = complete_as(run, field, path, info, value, await name)
        return await completed if is_coroutine(completed) else completed

    def complete_value(run: Run, field: "Field", path: Path, info: Any, value: Any) -> Any:
        name: Any = resolve_type(value, info, kind)
        complete = complete_later if optimized_is_awaitable(name) else complete_as
        return complete(run, field, path, info, value, name)

    return complete_value


class _List:
    """The completion of a list."""

    def __init__(self, kind: GraphQLList[Any], selection_of: SelectionOf) -> None:
        self._kind = kind
        self._item_type = kind.of_type
        self._complete_item = completion(kind.of_type, selection_of)

    def __call__(self, run: Run, field: "Field", path: Path, info: Any, items: Any) -> Any:
        if type(items) not in (list, tuple) or any(map(optimized_is_awaitable, items)):
            return run.reference.complete_value(self._kind, field.details, info, path, items, None)
        if len(items) > PIECE:
            return self._complete_in_pieces(run, field, path, info, items)
        completed: list[Any] = []
        waiting: list[int] = []
        try:
            for index, item in enumerate(items):
                if self._add_item(run, field, Path(path, index, None), info, item, completed):
                    waiting.append(index)
        except Exception:
            run.settle([completed[index] for index in waiting])
            raise
        return run.fill(completed, waiting) if waiting else completed

    async def _complete_in_pieces(self, run: Run, field: "Field", path: Path, info: Any, items: Any) -> list[Any]:
        """Leave the event loop to other work whenever a turn is over."""
        pieces = Pieces(run.context)
        completed: list[Any] = []
        waiting: list[int] = []
        try:
            for index, item in enumerate(items):
                await pieces.pay()
                if self._add_item(run, field, Path(path, index, None), info, item, completed):
                    waiting.append(index)
        except Exception:  # such as RateLimited, without a turn in time; items that wait must be awaited all the same
            await gather(*(completed[index] for index in waiting), return_exceptions=True)
            raise
        if waiting:
            await run.fill_in_tasks(completed, waiting)
        return completed

    def _add_item(self, run: Run, field: "Field", path: Path, info: Any, item: Any, completed: list[Any]) -> bool:
        """Append the completed item. Returns whether it is still to be awaited."""
        try:
            value = self._complete_item(run, field, path, info, item)
        except Exception as error:
            run.reference.handle_field_error(error, self._item_type, field.details, path)
            value = None
        waits = is_coroutine(value)
        completed.append(self._wait(run, field, path, value) if waits else value)
        return waits

    async def _wait(self, run: Run, field: "Field", path: Path, completing: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await completing
        except Exception as error:
            run.reference.handle_field_error(error, self._item_type, field.details, path)
            return None
