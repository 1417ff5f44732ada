"""graphql-core's execution, completing its lists in turns with other work. It is the reference for compiled operations,
which hand to it what is rare, and it begins subscriptions."""

from asyncio import gather
from collections.abc import Coroutine, Iterable, Sized
from time import perf_counter
from typing import Any, TypeVar

from graphql import GraphQLOutputType, GraphQLResolveInfo
from graphql.pyutils import AwaitableOrValue, Path, gather_with_cancel
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from api.graphql.context import Context
from api.identity.turns import LENGTH

R = TypeVar("R")

PIECE = 10
"""A list of so many items is completed in one piece, without checking the time. A row with all its fields takes 0.1 ms
(measured on 2 shared cores)."""


class Pieces:
    """The pieces in which an execution completes a long list."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._begun = perf_counter()

    def begin(self) -> None:
        """Begin a list. Reading it took no CPU time here."""
        self._begun = perf_counter()

    async def pay(self) -> None:
        """Leave the event loop to other work when the piece took LENGTH. Raises RateLimited when no turn came in
        time."""
        used = perf_counter() - self._begun
        if used >= LENGTH:
            await self._context.turns.pay(self._context.client, used)
            self._begun = perf_counter()


class ReferenceExecution(StrawberryGraphQLCoreExecutionContext):
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
        self._pieces = Pieces(self.context_value)

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
        self._pieces.begin()
        completed: list[Any] = []
        awaitable: list[int] = []
        try:
            for index, item in enumerate(items):
                await self._pieces.pay()
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
