"""The origin of the shop as its readers know it, and whether a form was sent by a page of the shop."""

from starlette.types import Scope
from strawberry.http.websocket_origin import is_same_origin

from api.graphql.headers import Headers, headers_of, text_of
from api.identity.clients import LOCAL, Clients


def is_secure(scope: Scope, clients: Clients) -> bool:
    """Whether the reader uses https. A trusted proxy that ends TLS says so in X-Forwarded-Proto, of which the last
    value counts: those before it can be forged. The Origin of a form's own page says so as well."""
    headers = headers_of(scope)
    if scope["scheme"] == "https" or text_of(headers, b"origin").startswith("https://"):
        return True
    peer = scope.get("client")
    if not clients.is_proxy(LOCAL if peer is None else peer[0]):
        return False
    return text_of(headers, b"x-forwarded-proto").rpartition(",")[2].strip().lower() == "https"


def origin_of(scope: Scope, clients: Clients) -> str:
    """The scheme and the host of the shop's addresses, such as https://shop.example. The host has been checked."""
    scheme = "https" if is_secure(scope, clients) else "http"
    return f"{scheme}://{text_of(headers_of(scope), b'host', 'localhost')}"


def is_from_another_site(headers: Headers) -> bool:
    """Whether a form was sent by a page of another origin. Browsers send Sec-Fetch-Site over https and from localhost,
    and Origin with every POST. A request without both does not come from a browser of the last years."""
    site = text_of(headers, b"sec-fetch-site")
    if site:
        return site != "same-origin"
    origin = text_of(headers, b"origin")
    return bool(origin) and not is_same_origin(origin, text_of(headers, b"host"))
