"""Relay cursor connections, shared by every list."""

import strawberry

from api.drops.keyset import Cursor


@strawberry.type(description="Where a page stands in its list, as of Relay's cursor connections.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="More items follow after `endCursor`.")
    has_previous_page: bool = strawberry.field(
        description="Items come before `startCursor`: always so when `after` was given."
    )
    start_cursor: str | None = strawberry.field(description="The cursor of the first item; null on an empty page.")
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last item, to be passed as `after` for the next page; null on an empty page."
    )


def page_info(cursors: list[Cursor], *, has_next: bool, after: str | None) -> PageInfo:
    """The PageInfo of the page that has these items and was asked for with this `after`."""
    return PageInfo(
        has_next_page=has_next,
        has_previous_page=after is not None,
        start_cursor=cursors[0].encode() if cursors else None,
        end_cursor=cursors[-1].encode() if cursors else None,
    )
