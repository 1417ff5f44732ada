"""The client that a request comes from."""

from ipaddress import ip_network
from typing import Any

import pytest

from api.identity.clients import LOCAL, Clients

PROXIES = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"client": None if peer is None else (peer, 50_000), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        (None, LOCAL),
    ],
)
def test_an_address_or_a_network_of_64_bits_is_one_client(peer: str | None, client: str) -> None:
    assert Clients().of(scope(peer)) == client


def test_only_a_trusted_proxy_can_name_the_client() -> None:
    assert Clients().of(scope("192.0.2.7", "198.51.100.1")) == "192.0.2.7"
    assert Clients(PROXIES).of(scope("192.0.2.7", "198.51.100.1")) == "192.0.2.7"
    assert Clients(PROXIES).of(scope("10.0.0.1", "198.51.100.1")) == "198.51.100.1"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (("1.1.1.1, 198.51.100.1, 10.9.9.9",), "198.51.100.1"),  # what the client itself wrote comes first
        (("1.1.1.1", "198.51.100.1,10.9.9.9"), "198.51.100.1"),
        (("2001:db8:1:2:3::4",), "2001:db8:1:2::/64"),
        (("[2001:db8:1:2:3::4]:443",), "2001:db8:1:2::/64"),
        (("198.51.100.1:50000",), "198.51.100.1"),
        (("10.9.9.9, fd00::1",), "10.9.9.9"),
        (("198.51.100.1, unknown",), "10.0.0.1"),
        (("",), "10.0.0.1"),
        ((), "10.0.0.1"),
        ((",".join(["198.51.100.1"] + 30 * ["10.9.9.9"]),), "10.9.9.9"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_not_a_trusted_proxy(forwarded: tuple[str, ...], client: str) -> None:
    assert Clients(PROXIES).of(scope("10.0.0.1", *forwarded)) == client
