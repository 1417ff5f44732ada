"""Callers of the endpoints that are not GraphQL: who sends a request, or the answer by which it is refused."""

import math

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.identity.authenticator import Authenticator
from api.identity.caller import Caller, Role
from api.identity.claims import IssuerAway
from api.identity.clients import Clients
from api.identity.errors import Forbidden, RateLimited, Unauthenticated


async def identify(request: Request, authenticator: Authenticator, clients: Clients, *roles: Role) -> Caller | Response:
    """The caller, by the Authorization header, who has one of the roles. Otherwise the answer to the request: 401, 403,
    429, or 503 while the shop's issuer cannot be reached."""
    try:
        caller = await authenticator.identify(request.headers.get("authorization"), clients.of(request.scope))
        caller.require(*roles)
    except RateLimited as limit:
        headers = {"retry-after": str(math.ceil(limit.retry_after))}
        return PlainTextResponse(f"{limit}\n", limit.status, headers)
    except Unauthenticated as refusal:
        return PlainTextResponse(f"{refusal}\n", 401, {"www-authenticate": "Bearer"})
    except (Forbidden, IssuerAway) as refusal:
        return PlainTextResponse(f"{refusal}\n", 403 if isinstance(refusal, Forbidden) else 503)
    return caller
