"""The application that answers a request: the real one, metered, or one that refuses the request."""

import math
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.graphql.errors import rate_limited_error
from api.identity.errors import RateLimited
from api.identity.gate import Gate


def metered(app: ASGIApp, gate: Gate, client: str) -> ASGIApp:
    """Return the application with its processor time charged to the client."""

    def answer(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return gate.metered(client, cast("Coroutine[Any, Any, None]", app(scope, receive, send)))

    return answer


def refused(limit: RateLimited) -> ASGIApp:
    """Return an application that answers 429, with the seconds after which to try again."""
    headers = {"retry-after": str(math.ceil(limit.retry_after))}
    response = JSONResponse({"errors": [rate_limited_error(limit)]}, 429, headers)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await response(scope, receive, send)

    return answer
