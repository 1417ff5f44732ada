"""CORS: which pages of other sites may call the API, with which headers, and which headers they may read."""

import re
from collections.abc import Awaitable

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from api.graphql.headers import headers_of

SENT_HEADERS = (
    "authorization",
    "content-type",
    # Apollo's clients: what makes a browser send a preflight, and the names of an app and of an operation.
    "apollo-require-preflight",
    "apollographql-client-name",
    "apollographql-client-version",
    "x-apollo-operation-id",
    "x-apollo-operation-name",
    # graphql-sse with all operations on one stream.
    "x-graphql-event-stream-token",
    # Traces: W3C Trace Context and Baggage, as OpenTelemetry, Sentry and Elastic send them, and Sentry's own header.
    "baggage",
    "sentry-trace",
    "traceparent",
    "tracestate",
    "x-request-id",
)
"""The headers that a page may send beside those that need no permission. The browser sends no request at all with a
header that is missing here, so headers that this server ignores are among them. urql, Relay and graphql-request send
none but `content-type`."""

READ_HEADERS = ("retry-after", "x-request-id")
"""The headers of an answer that a page may read beside those that need no permission, such as `content-type`."""

PREFLIGHT_AGE = 7200
"""Seconds that a browser may keep the answer to a preflight. Chromium keeps it for 7,200 s at most, and Firefox for
86,400 s. A longer time would leave Firefox with an old list of headers for a day after an upgrade."""

APP_SCHEMES = ("capacitor", "ionic", "tauri")
"""The schemes of pages in apps, such as `capacitor://localhost`."""

MAX_NAME = 253
"""Characters of a host name (RFC 1035)."""

NOBODY = "(?!)"
"""The pattern that matches no origin."""

_EXPECTED = (
    "expected origins such as https://shop.example, https://*.preview.shop.example or capacitor://localhost, "
    "separated by commas, not"
)
_ORIGIN = re.compile(r"([^:/]*)://(\[[^\]]*\]|[^:]*)(?::(.*))?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_FIRST_LABEL = re.compile(r"[a-z0-9-]*\*[a-z0-9-]*")
_ADDRESS = re.compile(r"\[[0-9a-f:.]+\]")
_PORTS = {"http": "80", "https": "443"}


class CrossOrigin:
    """Starlette's CORS, for requests with an Origin only. Starlette's reads the headers of every request and wraps its
    answer, which took a tenth of the time of a purchase."""

    def __init__(self, app: ASGIApp, allowed: re.Pattern[str]) -> None:
        """`allowed` matches the origins whose pages may call."""
        self._app = app
        self._cors = CORSMiddleware(
            app,
            allow_origin_regex=allowed.pattern,
            allow_methods=["DELETE", "GET", "POST", "PUT"],
            allow_headers=SENT_HEADERS,
            expose_headers=READ_HEADERS,
            max_age=PREFLIGHT_AGE,
        )

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        crossing = scope["type"] == "http" and b"origin" in headers_of(scope)
        return (self._cors if crossing else self._app)(scope, receive, send)


def parse_origins(text: str) -> re.Pattern[str]:
    """Read origins separated by commas; return a pattern for `fullmatch` with an Origin header.

    `*` stands for a whole first label of a host name or for a part of it, never for a dot. Raises ValueError.
    """
    patterns = []
    for entry in filter(None, map(str.strip, text.split(","))):
        origin = entry.lower().rstrip("/")
        fault = _fault(origin)
        if fault:
            raise ValueError(f"{_EXPECTED} {entry[:100]!r}: {fault}")
        patterns.append(re.escape(origin).replace(r"\*", "[a-z0-9-]+"))
    return re.compile("|".join(patterns) or NOBODY)


def _fault(origin: str) -> str:
    """What is wrong with an origin in lower case; empty for nothing."""
    parts = _ORIGIN.fullmatch(origin)
    if parts is None:
        return "it does not begin with a scheme such as https://" if origin != "*" else "it would allow every page"
    scheme, host, port = parts.groups()
    if scheme not in (*_PORTS, *APP_SCHEMES):
        return f"its scheme is none of {', '.join((*_PORTS, *APP_SCHEMES))}"
    if port is not None and not (re.fullmatch(r"[1-9][0-9]{0,4}", port) and int(port) < 65536):
        return "a port is a number up to 65535, and an origin has no path"
    if port == _PORTS.get(scheme, ""):
        return f"browsers leave out the port {port} of {scheme}"
    if "*" in host:
        return _fault_of_wildcard(scheme, host)
    if not _ADDRESS.fullmatch(host) and not _is_name(host.split(".")):
        return "after the scheme comes a host name in ASCII, and an origin has no path"
    return ""


def _fault_of_wildcard(scheme: str, host: str) -> str:
    first, *others = host.split(".")
    if scheme in APP_SCHEMES:
        return f"an origin of {scheme} has no *"
    if host.count("*") > 1 or not _FIRST_LABEL.fullmatch(first):
        return "* may stand once, in the first label of the host name"
    if others != ["localhost"] and (len(others) < 2 or not _is_name(others)):
        return "behind the label with * come two more labels, as in https://*.preview.shop.example"
    return ""


def _is_name(labels: list[str]) -> bool:
    return len(".".join(labels)) <= MAX_NAME and all(map(_LABEL.fullmatch, labels))
