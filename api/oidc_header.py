"""Vercel's OIDC token: it comes as a header of every request, and is what AWS gives credentials for."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.database.web_identity import WebIdentity

HEADER = "x-vercel-oidc-token"


class OidcHeader:
    """Keeps the token of each request, for the connections that open in it or later.

    To be used on Vercel alone, which sets the header itself; anywhere else any client could.
    """

    def __init__(self, app: ASGIApp, identity: WebIdentity) -> None:
        self._app = app
        self._identity = identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            self._identity.accept(Headers(scope=scope).get(HEADER, ""))
        await self._app(scope, receive, send)
