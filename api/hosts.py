"""Host names: the names that a request may have in its Host header.

A browser lets a page send requests to its own host, and the owner of a name decides its address. An attacker can give a
name first an address of their own and then 127.0.0.1. A page that was loaded under the name then reads and writes here
like a page of this server (DNS rebinding). Its requests carry that name as their Host.
"""

import re
from collections.abc import Awaitable, Sequence
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from api.graphql.headers import headers_of
from api.identity.clients import Clients
from api.identity.refusals import Refusals

LOCAL_NAMES = ("localhost", "*.localhost")
"""Names that nobody can own (RFC 6761, section 6.3)."""

ANY = "*"

PROBES = frozenset({"/healthz", "/readyz"})
"""Paths that are answered under any name: load balancers request them by any address that they know."""

MAX_HOST = 300
"""Bytes of the longest Host header. A name has 253 at most, and a port 5."""

REFUSED_HOSTS = "requests for other host names"
"""The kind under which refusals are counted."""

UNNAMED = (
    "no host names are configured: only localhost, the host of --host and the address that a connection arrives at are "
    "answered; set DROPZERO_HOSTS to the names that buyers use, such as shop.example"
)
"""The warning of a server with endpoints and without DROPZERO_HOSTS."""

_REFUSED = "This server does not answer to this host name. Its operator can add the name to DROPZERO_HOSTS.\n"
_NOT_ONE = "Send exactly one Host header.\n"

_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::[0-9]*)?")
_NAME = re.compile(r"(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")


class Hosts:
    """Decides which hosts are answered: local names, loopback addresses, the address that the connection arrived at (an
    address cannot be rebound), and the configured names."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        """`names` as `parse_hosts` returns them."""
        every = [*LOCAL_NAMES, *names]
        self._any = ANY in every
        self._names = frozenset(_canonical(name) for name in every)
        self._suffixes = tuple(name.removeprefix("*") for name in every if name.startswith("*."))
        self._decide = lru_cache(maxsize=1_000)(self._compare)

    def allows(self, host: bytes, arrived_at: str) -> bool:
        """Whether a request with this Host header is answered on a connection to the address `arrived_at`."""
        return self._any or (len(host) <= MAX_HOST and self._decide(host, arrived_at))

    def _compare(self, host: bytes, arrived_at: str) -> bool:
        name = _name_in(host)
        if name is None:
            return False
        if name in self._names or name.endswith(self._suffixes):
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or address == _address(arrived_at))


class HostCheck:
    """The ASGI middleware that refuses requests and websockets for other hosts."""

    def __init__(self, app: ASGIApp, hosts: Hosts, clients: Clients, refusals: Refusals) -> None:
        self._app = app
        self._hosts = hosts
        self._clients = clients
        self._refusals = refusals

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._choose(scope)(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        kind = scope["type"]
        if kind == "lifespan" or (kind == "http" and scope["path"] in PROBES):
            return self._app
        named = headers_of(scope).get(b"host", ())
        # A client of HTTP/1.0 may leave Host out (RFC 9112, section 3.2). No browser does.
        if len(named) > 1 or (not named and scope["http_version"] == "1.1"):
            return partial(_refuse, 400, _NOT_ONE)
        if named and not self._hosts.allows(named[0], (scope.get("server") or ("",))[0]):
            self._refusals.count(REFUSED_HOSTS, self._clients.of(scope), named[0].decode("latin-1"))
            return partial(_refuse, 421 if kind == "http" else 403, _REFUSED)
        return self._app


def parse_hosts(text: str) -> tuple[str, ...]:
    """Read host names separated by commas; return them in lower case, without a final dot. Raises ValueError."""
    return tuple(_parsed(host.strip()) for host in text.split(",") if host.strip())


def _parsed(host: str) -> str:
    name = _canonical(host)
    if name != ANY and _address(name) is None and (len(name) > 253 or not _NAME.fullmatch(name)):
        raise ValueError(
            "expected host names such as shop.example or *.shop.example, or * for any, separated by commas and without "
            f"scheme, port and path, not {host[:100]!r}"
        )
    return name


def _name_in(host: bytes) -> str | None:
    """Return the name or address in a Host header, None for an invalid one."""
    found = _HOST.fullmatch(host.decode("latin-1"))
    return None if found is None else _canonical(found[1] or found[2])


def _canonical(name: str) -> str:
    """Return the canonical spelling of a name or an address."""
    bare = name[1:-1] if name.startswith("[") and name.endswith("]") else name.lower().removesuffix(".")
    address = _address(bare)
    return bare if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])  # without the interface of a link-local address
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


async def _refuse(status: int, reason: str, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await PlainTextResponse(reason, status)(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        # uvicorn's default headers are not in an answer to a handshake.
        headers = {"x-content-type-options": "nosniff"}
        await PlainTextResponse(reason, status, headers=headers)(scope, receive, send)
    else:
        await send({"type": "websocket.close"})  # the server answers 403
