"""Clients: where a request comes from, as far as the network shows it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network
Address: TypeAlias = IPv4Address | IPv6Address

LOCAL = "local"
"""The client of a request without an address, such as one from a Unix socket."""

MAX_HOPS = 20
"""Addresses of X-Forwarded-For that are read, counted from its end. Each proxy on the way adds one."""


class Clients:
    """Names the client of each request. An IPv4 address is one client. All addresses of an IPv6 network of 64 bits are
    one client as well, since providers assign such a network to one customer (RFC 6177)."""

    def __init__(self, trusted_proxies: Sequence[Network] = ()) -> None:
        """`trusted_proxies` send the address of their client in X-Forwarded-For. The header is read from no other
        peer."""
        self._trusted_proxies = tuple(trusted_proxies)

    def of(self, scope: Mapping[str, Any]) -> str:
        """The client of an ASGI scope."""
        peer = scope.get("client")
        host = LOCAL if peer is None else peer[0]
        if not self.is_proxy(host):
            return client_of(host)
        forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        hops = b",".join(forwarded).decode("latin-1").split(",")[-MAX_HOPS:] if forwarded else []
        return client_of(self._nearest_untrusted(host, reversed(hops)))

    def is_proxy(self, host: str) -> bool:
        """Whether connections from this host carry the requests of other clients."""
        return bool(self._trusted_proxies) and self._is_trusted(_address(host))

    def _nearest_untrusted(self, peer: str, hops: Iterable[str]) -> str:
        """The first address, from the end of the header, that is not a trusted proxy. The addresses before it can be
        forged."""
        nearest = peer
        for hop in hops:
            address = _address(hop.strip())
            if address is None:
                return nearest
            nearest = str(address)
            if not self._is_trusted(address):
                return nearest
        return nearest

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._trusted_proxies)


MAX_ADDRESS = 64
"""Characters of an address with a port and a zone, at most. A longer text is no address, and is not cached as one."""


@lru_cache(maxsize=10_000)
def client_of(host: str) -> str:
    """The client that an address belongs to. A text that is not an address is a client by itself."""
    address = _address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return host if address is None else str(address)


@lru_cache(maxsize=10_000)
def _address(text: str) -> Address | None:
    """The IP address in the text, with or without a port. None when the text is not an address."""
    if len(text) > MAX_ADDRESS:
        return None
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    # A client with an IPv4 address is the same client on an IPv6 socket.
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address
