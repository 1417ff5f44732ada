"""The context of resolvers: the drops, the caller, and who is charged."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import strawberry

from api.drops.drops import Drops
from api.graphql.departure import Departure
from api.identity.caller import Caller
from api.identity.gate import Gate
from api.identity.guests import GuestToken
from api.identity.joint_turns import JointTurns
from api.identity.turns import Turns
from api.tracing.request_trace import RequestTrace

if TYPE_CHECKING:
    from api.tracing.span import Span


@dataclass(frozen=True)
class Context:
    """The context of one operation.

    `client`: who is charged for the operation, see client_key. `turns`: for work of the operation that takes more than
    a moment. `gate`: charges the client with all of the operation's work. `departure`: of the client, which can leave
    early. `new_guest`: makes a guest's token for the address that the request came from; None in a subscription.
    `trace`: the request's id and span; None in a subscription, and where several requests share one execution.
    """

    drops: Drops
    caller: Caller
    client: str
    turns: Turns | JointTurns
    gate: Gate
    departure: Departure = field(default_factory=Departure)
    new_guest: Callable[[], GuestToken] | None = None
    trace: RequestTrace | None = None

    @property
    def span(self) -> "Span | None":
        """The span of the operation; None if it is not traced."""
        return None if self.trace is None else self.trace.span

    @property
    def log_fields(self) -> dict[str, str]:
        """The `extra` of a log line about the operation."""
        return {} if self.trace is None else self.trace.log_fields()


Info: TypeAlias = strawberry.Info[Context, None]
