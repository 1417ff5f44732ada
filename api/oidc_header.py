"""Vercel's OIDC token: a header of every request, which AWS exchanges for credentials."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

from api.database.web_identity import WebIdentity
from api.graphql.headers import headers_of

HEADER = b"x-vercel-oidc-token"


class OidcHeader:
    """Keeps the latest request's token, for database connections that open during the request or later.

    For Vercel only, which sets the header itself. Anywhere else a client could set it.
    """

    def __init__(self, app: ASGIApp, identity: WebIdentity) -> None:
        self._app = app
        self._identity = identity

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] in ("http", "websocket"):
            [token, *_] = headers_of(scope).get(HEADER, [b""])
            self._identity.accept(token.decode("latin-1"))
        return self._app(scope, receive, send)
