"""The cookie of a browser's guest. The pages' modules share it, so that a browser is one buyer with and without script.

No other site can make a browser send it (SameSite=Strict), and GraphQL does not read it.
"""

import re

from starlette.types import Scope

from api.graphql.headers import Headers, headers_of, text_of
from api.identity.authenticator import Authenticator
from api.identity.clients import Clients
from api.identity.guests import LIFETIME
from api.identity.signed_token import MAX_TOKEN
from api.storefront.languages import MAX_COOKIES

NAME = "dropzero_guest"

_COOKIE = re.compile(rf"(?:^|[;,][ \t]*){NAME}=([A-Za-z0-9._-]{{1,{MAX_TOKEN}}})[ \t]*(?=$|[;,])")


def guest_token(headers: Headers) -> str | None:
    """The token of the browser's guest, which has yet to be verified; None if the browser has none. MAX_COOKIES
    characters of its cookies are read."""
    found = _COOKIE.findall(text_of(headers, b"cookie")[:MAX_COOKIES])
    return found[-1] if found else None


def guest_cookie(token: str, *, secure: bool) -> str:
    """The value of Set-Cookie for a new guest. The pages' modules read and write the cookie, so it is not HttpOnly."""
    return f"{NAME}={token}; Max-Age={LIFETIME}; Path=/; SameSite=Strict{'; Secure' if secure else ''}"


class GuestRefused(Exception):
    """The cookie's token is no valid token of a guest: it has expired, or its key has been replaced."""


async def guest_of(scope: Scope, authenticator: Authenticator, clients: Clients) -> str | None:
    """The subject of the browser's guest; None if the browser has none. Raises GuestRefused, RateLimited."""
    token = guest_token(headers_of(scope))
    if token is None:
        return None
    caller = await authenticator.identify(f"Bearer {token}", clients.of(scope))
    if not caller.guest:
        raise GuestRefused
    return caller.subject
