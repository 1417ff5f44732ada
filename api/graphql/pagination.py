"""Relay's cursor connections: the PageInfo that every list shares."""

import strawberry

from api.drops.keyset import Cursor


@strawberry.type(description="The place of a page in its list, as Relay's cursor connections define it.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more items follow after `endCursor`.")
    has_previous_page: bool = strawberry.field(
        description="Whether the page was read with `after`: then items come before `startCursor`."
    )
    start_cursor: str | None = strawberry.field(description="The cursor of the first item; null on an empty page.")
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last item; pass it as `after` for the next page. Null on an empty page."
    )


def page_info(cursors: list[Cursor], *, has_next: bool, after: str | None) -> PageInfo:
    """The PageInfo of a page with these cursors that was read with this `after`."""
    return PageInfo(
        has_next_page=has_next,
        has_previous_page=after is not None,
        start_cursor=cursors[0].encode() if cursors else None,
        end_cursor=cursors[-1].encode() if cursors else None,
    )
