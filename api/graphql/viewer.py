"""Who the caller is, and guests' tokens for shops without accounts."""

from datetime import UTC, datetime
from enum import Enum

import strawberry

from api.graphql.context import Info


@strawberry.enum(description="What a caller may do for the shop.")
class Role(Enum):
    OPERATOR = strawberry.enum_value("operator", description="Everything.")
    SUPPORT = strawberry.enum_value("support", description="Reads and cancels the orders of all buyers.")
    PAYMENTS = strawberry.enum_value("payments", description="Confirms and releases holds.")


@strawberry.type(description="The caller, as the server knows it.")
class Viewer:
    subject: str | None = strawberry.field(
        description="The buyer: `userRef` of the caller's orders. Null for callers who buy nothing for themselves: "
        "those without a token, and operators' tokens."
    )
    roles: list[Role] = strawberry.field(description="What the caller may do for the shop; empty for buyers.")
    guest: bool = strawberry.field(description="Whether the caller is a guest, and has no account.")


@strawberry.type(description="A guest: a buyer without an account.")
class GuestToken:
    token: str = strawberry.field(
        description="Send it as the header `Authorization: Bearer TOKEN`, or in connection_init's payload. It makes "
        "its bearer this buyer: keep it in the browser, and in no URL."
    )
    subject: str = strawberry.field(description="The guest's `userRef`.")
    expires_at: datetime = strawberry.field(description="When the token expires.")


@strawberry.type
class ViewerQueries:
    @strawberry.field(description="Who the caller is. An error says why a token that was sent is not valid.")
    def viewer(self, info: Info) -> Viewer:
        caller = info.context.caller
        caller.require_valid_token()
        return Viewer(
            subject=caller.subject or None, roles=[Role(role) for role in sorted(caller.roles)], guest=caller.guest
        )


@strawberry.type
class ViewerMutations:
    @strawberry.mutation(
        description="Makes a new guest, who can buy without an account. Each address can have a bounded number of them."
    )
    def guest(self, info: Info) -> GuestToken | None:
        assert info.context.new_guest is not None, "a mutation can make guests"
        made = info.context.new_guest()
        return GuestToken(
            token=made.token, subject=made.subject, expires_at=datetime.fromtimestamp(made.expires_at, UTC)
        )
