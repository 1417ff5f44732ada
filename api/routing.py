"""Routing: GraphQL over HTTP is answered without Starlette, and everything else by Starlette's routes."""

from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.graphql.errors import ErrorCode

GRAPHQL = "/graphql"
"""The path of GraphQL, over HTTP and over websockets."""


async def without_slash(request: Request) -> Response:
    """Redirect from GRAPHQL with a slash at its end. Clients that follow no redirect get the reason."""
    query = f"?{request.url.query}" if request.url.query else ""
    message = f"GraphQL is at {GRAPHQL}, without a slash at the end"
    errors = [{"message": message, "extensions": {"code": ErrorCode.BAD_USER_INPUT}}]
    return JSONResponse({"errors": errors}, 308, {"location": GRAPHQL + query})


class Routing:
    """Sends an HTTP request for GRAPHQL to one application, and everything else to another.

    Starlette's way from its entry to the end of a route took a fifth of the time of a small query: two layers that
    handle errors, a comparison with each route, and a wrapper around each message that is sent.
    """

    def __init__(self, graphql: ASGIApp, others: ASGIApp) -> None:
        self._graphql = graphql
        self._others = others

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        app = self._graphql if scope["type"] == "http" and scope["path"] == GRAPHQL else self._others
        return app(scope, receive, send)
