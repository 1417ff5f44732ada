"""Where webhooks may go: to public addresses, whatever a name leads to at the moment of the connection."""

import socket
from typing import Any

import pytest

from api.webhooks.addresses import is_public, public_socket
from tests.webhooks.certificates import server_context, trusting
from tests.webhooks.names import Names
from tests.webhooks.receiver import HELD, reason, receiving, sending

PUBLIC = ["93.184.216.34", "1.1.1.1", "100.63.255.255", "172.32.0.1", "192.0.1.1", "2600:1f18::7", "2a00:1450:4001::1"]
PUBLIC_IN_IPV6 = ["::ffff:93.184.216.34", "64:ff9b::93.184.216.34"]
PRIVATE = [
    "0.0.0.0",  # noqa: S104
    "10.0.0.7",
    "100.64.0.1",
    "100.100.100.200",  # Alibaba Cloud's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",  # AWS's, Azure's and Google's metadata
    "169.254.170.2",  # ECS's credentials
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",  # Oracle Cloud's metadata
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fd00:ec2::254",  # AWS's metadata
    "fc00::1",
    "fe80::1",
    "fe80::1%2",
    "fec0::1",
    "ff02::1",
    "100::1",
    "2001::1",  # Teredo
    "2001:db8::1",
    "2002:7f00:1::",  # 6to4 of 127.0.0.1
]
PRIVATE_IN_IPV6 = [
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::10.0.0.7",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::1.1.1.1",
]


def info(host: str) -> tuple[Any, ...]:
    """What the connection is made to, as asyncio's getaddrinfo describes it."""
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 443, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 443))


@pytest.mark.parametrize("host", PUBLIC + PUBLIC_IN_IPV6)
def test_a_public_address_gets_a_socket(host: str) -> None:
    assert is_public(host)
    with public_socket(info(host)) as made:
        assert made.family == info(host)[0]


@pytest.mark.parametrize("host", [*PRIVATE, *PRIVATE_IN_IPV6, "127.1", "2130706433", "localhost", ""])
def test_no_other_address_gets_a_socket(host: str) -> None:
    assert not is_public(host)
    with pytest.raises(PermissionError, match="is a private address; DROPZERO_WEBHOOK_PRIVATE=on allows it"):
        public_socket(info(host))


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1", "127.0.0.1"], ["::ffff:127.0.0.1"]])
async def test_a_name_that_leads_to_a_private_address_is_not_connected_to(addresses: list[str]) -> None:
    resolver, tls = Names({"shop.example": addresses}), trusting()
    async with receiving(server_context("shop.example")) as receiver:
        url = receiver.url.replace("127.0.0.1", "shop.example")
        async with sending(url, private=False, resolver=resolver, tls=tls) as webhook:
            why = await reason(webhook)
        assert all(f"{address} is a private address; DROPZERO_WEBHOOK_PRIVATE=on" in why for address in addresses)
        assert receiver.connections == 0
        async with sending(url, private=True, resolver=resolver, tls=tls) as webhook:
            await webhook.send(HELD)
        assert receiver.connections == 1


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost."])
async def test_no_name_of_this_machine_is_connected_to(host: str) -> None:
    async with receiving(server_context("localhost")) as receiver:
        url = receiver.url.replace("127.0.0.1", host)
        async with sending(url, private=False, tls=trusting()) as webhook:
            assert await reason(webhook)
    assert receiver.connections == 0
