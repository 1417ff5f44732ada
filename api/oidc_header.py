"""Vercel's OIDC token: a header of every request, which AWS exchanges for credentials."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.database.web_identity import WebIdentity

HEADER = "x-vercel-oidc-token"


class OidcHeader:
    """Keeps the latest request's token, for database connections that open during the request or later.

    For Vercel only, which sets the header itself. Anywhere else a client could set it.
    """

    def __init__(self, app: ASGIApp, identity: WebIdentity) -> None:
        self._app = app
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            self._identity.accept(Headers(scope=scope).get(HEADER, ""))
        await self._app(scope, receive, send)
