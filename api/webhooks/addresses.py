"""Which addresses webhooks may be sent to: public ones, unless private ones are allowed.

A URL whose host leads into the server's own network would let a receiver's owner reach what only the server can reach:
the database, a cloud's metadata with its credentials, other services that trust their network. The owner of a name
decides its address, and may change it after any check. So the address is checked when a socket is made for it.
"""

import socket
from errno import EACCES
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

_NOT_PUBLIC = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "168.63.129.16/32",  # what Azure's machines reach their platform at; not in IANA's registry
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
        ),
    )
)
"""IANA's registries of special-purpose addresses, and multicast. They are written out, since what `ipaddress` calls
global differs from one release of Python to the next."""

_GLOBAL_UNICAST = ip_network("2000::/3")
"""Every IPv6 address that IANA has given to networks. Loopback, private, link-local and multicast are outside."""

_TRANSLATED = (ip_network("64:ff9b::/96"), ip_network("::ffff:0:0/96"))
"""IPv6 addresses that lead to the IPv4 address in their last 32 bits: by NAT64 (RFC 6052), and as the operating system
writes IPv4 (RFC 4291)."""


def is_public(host: str) -> bool:
    """Whether a text is an address of the public Internet. A name is none, nor is 127.1, in which C's libraries see
    127.0.0.1."""
    try:
        address = ip_address(host)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        if any(address in network for network in _TRANSLATED):
            address = IPv4Address(int(address) & 0xFFFF_FFFF)
        elif address not in _GLOBAL_UNICAST:
            return False
    return not any(address in network for network in _NOT_PUBLIC)


def public_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for a connection to an address, which is the last member of `info`. Raises PermissionError for an
    address that is not public."""
    family, kind, protocol, _, (host, *_) = info
    if not is_public(host):
        raise PermissionError(EACCES, f"{host} is a private address; DROPZERO_WEBHOOK_PRIVATE=on allows it")
    return socket.socket(family, kind, protocol)
