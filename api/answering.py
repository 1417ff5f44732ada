"""What answers a request once it is its turn: the application, or a refusal."""

import math
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

from starlette.responses import JSONResponse
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope

from api.graphql.errors import rate_limited_error
from api.identity.errors import RateLimited
from api.identity.gate import Gate


def metered(app: ASGI3Application, gate: Gate, client: str) -> ASGI3Application:
    """The application, whose steps the client is charged with."""

    def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> Awaitable[None]:
        return gate.metered(client, cast("Coroutine[Any, Any, None]", app(scope, receive, send)))

    return answer


def refused(limit: RateLimited) -> ASGI3Application:
    """An application that answers 429, with the time to come back."""
    headers = {"retry-after": str(math.ceil(limit.retry_after))}
    response = JSONResponse({"errors": [rate_limited_error(limit)]}, 429, headers)

    async def answer(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        await response(cast("Any", scope), cast("Any", receive), cast("Any", send))

    return answer
