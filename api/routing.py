"""Routing: GraphQL over HTTP is answered without Starlette, and everything else by Starlette's routes."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Receive, Scope, Send

GRAPHQL = "/graphql"
"""The path of GraphQL, over HTTP and over websockets."""


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
