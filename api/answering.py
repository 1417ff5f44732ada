"""The application that answers a request: the real one, metered, or the same one with the request refused."""

import math
from collections.abc import Awaitable, Coroutine
from typing import Any, cast

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.graphql.errors import rate_limited_error
from api.hosts import PROBES
from api.identity.admission import REQUEST, Admission
from api.identity.errors import RateLimited
from api.identity.gate import Gate

EXTENSION = "dropzero.refused"
"""The extension of an ASGI scope that holds the limit by which the request is refused."""


NEVER_REFUSED = frozenset((*PROBES, "/metrics"))
"""A load balancer would take a busy server out, and leave its work to the others. An operator looks how busy it is."""


def answering(app: ASGIApp, admission: Admission, client: str, path: str, *, in_time: bool) -> ASGIApp:
    """The application that answers a request to `path` which begins now: in time, or too late to be executed."""
    if in_time or path in NEVER_REFUSED:
        return _metered(app, admission.gate, client)
    return _refused(app, admission.refuse(client, REQUEST))


def _metered(app: ASGIApp, gate: Gate, client: str) -> ASGIApp:
    """Return the application with its processor time charged to the client."""

    def answer(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return gate.metered(client, cast("Coroutine[Any, Any, None]", app(scope, receive, send)))

    return answer


def _refused(app: ASGIApp, limit: RateLimited) -> ASGIApp:
    """Return an application that answers 429 or 503, with the seconds after which to try again, in place of `app`.

    The answer comes from `RefusedRequests`, in the middle of the application. So pages of other origins can read it,
    and a preflight is answered like any other: a browser would hide the refusal of a preflight from its page.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[EXTENSION] = limit
        await app(scope, receive, send)

    return answer


class RefusedRequests:
    """The ASGI middleware that answers the requests that are too late. It stands inside of CORS."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = scope.get("extensions", {}).get(EXTENSION)
        await (self._app if limit is None else _too_many(limit))(scope, receive, send)


def _too_many(limit: RateLimited) -> JSONResponse:
    headers = {"retry-after": str(math.ceil(limit.retry_after))}
    return JSONResponse({"errors": [rate_limited_error(limit)]}, limit.status, headers)
