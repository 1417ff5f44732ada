"""Relay's cursor connections: the arguments and the PageInfo that every list shares."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import strawberry

from api.drops.keyset import DEFAULT_PAGE, MAX_PAGE, Page

First: TypeAlias = Annotated[
    int | None,
    strawberry.argument(
        description=f"Items of the page, 1 to {MAX_PAGE}: the first ones after `after`. {DEFAULT_PAGE} if neither "
        "`first` nor `last` is given."
    ),
]
After: TypeAlias = Annotated[
    str | None,
    strawberry.argument(description="The `endCursor` of the page before; the beginning of the list if left out."),
]
Last: TypeAlias = Annotated[
    int | None,
    strawberry.argument(
        description=f"In place of `first`: items of the page, 1 to {MAX_PAGE}, the last ones before `before`. The "
        "order of the items stays the same."
    ),
]
Before: TypeAlias = Annotated[
    str | None,
    strawberry.argument(description="The `startCursor` of the page behind; the end of the list if left out."),
]


@strawberry.type(description="The place of a page in its list, as Relay's cursor connections define it.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether the list has more items after `endCursor`.")
    has_previous_page: bool = strawberry.field(description="Whether the list has more items before `startCursor`.")
    start_cursor: str | None = strawberry.field(
        description="The cursor of the first item; pass it as `before`, with `last`, for the page before. Null on an "
        "empty page."
    )
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last item; pass it as `after` for the next page. Null on an empty page."
    )

    @classmethod
    def of(cls, page: Page[Any], cursors: Sequence[str]) -> "PageInfo":
        """`cursors`: those of the items."""
        return cls(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=cursors[0] if cursors else None,
            end_cursor=cursors[-1] if cursors else None,
        )
