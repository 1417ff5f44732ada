"""The application that answers a request: the real one, metered, or the same one with the request refused."""

import math
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.graphql.errors import rate_limited_error
from api.identity.errors import RateLimited
from api.identity.gate import Gate

EXTENSION = "dropzero.refused"
"""The extension of an ASGI scope that holds the limit by which the request is refused."""


def metered(app: ASGIApp, gate: Gate, client: str) -> ASGIApp:
    """Return the application with its processor time charged to the client."""

    def answer(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return gate.metered(client, cast("Coroutine[Any, Any, None]", app(scope, receive, send)))

    return answer


def refused(app: ASGIApp, gate: Gate) -> ASGIApp:
    """Return an application that answers 429, with the seconds after which to try again, in place of `app`.

    The answer comes from `RefusedRequests`, in the middle of the application. So pages of other origins can read it,
    and a preflight is answered like any other: a browser would hide the refusal of a preflight from its page.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[EXTENSION] = gate.refusal()
        await app(scope, receive, send)

    return answer


class RefusedRequests:
    """The ASGI middleware that answers the requests of `refused`. It stands inside of CORS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = scope.get("extensions", {}).get(EXTENSION)
        await (self._app if limit is None else _too_many(limit))(scope, receive, send)


def _too_many(limit: RateLimited) -> JSONResponse:
    headers = {"retry-after": str(math.ceil(limit.retry_after))}
    return JSONResponse({"errors": [rate_limited_error(limit)]}, 429, headers)
