"""Several clients of one server in one test: it trusts this machine to say who they are."""

import re
from dataclasses import replace
from ipaddress import ip_network

from api.settings import Settings
from tests.patience import until
from tests.server import Server


def trusting(settings: Settings, **more: object) -> Settings:
    """Settings of a server that takes this machine for its proxy."""
    return replace(settings, trusted_proxies=(ip_network("127.0.0.0/8"),), **more)  # type: ignore[arg-type]


def come_from(number: int) -> dict[str, str]:
    """The headers of a client, each number another."""
    return {"x-forwarded-for": f"198.51.100.{number}"}


async def until_waiting(server: Server, number: int) -> None:
    """Wait until so many purchases are in line and in transactions, of all Regions."""

    async def are_waiting() -> bool:
        async with server.session.get(f"{server.url}/metrics") as response:
            waiting = re.findall(r"^dropzero_purchases_waiting{.*} (.*)$", await response.text(), re.M)
        return sum(map(float, waiting)) == number

    await until(are_waiting)
