"""Several clients of one server in one test. The server trusts this machine as its proxy, which names the clients."""

import re
from dataclasses import replace
from ipaddress import ip_network

from api.settings import Settings
from tests.patience import until
from tests.server import Server


def trusting(settings: Settings, **more: object) -> Settings:
    """Settings of a server whose proxy is this machine."""
    return replace(settings, trusted_proxies=(ip_network("127.0.0.0/8"),), **more)  # type: ignore[arg-type]


def client_headers(number: int) -> dict[str, str]:
    """The headers of a client. Each number is another client."""
    return {"x-forwarded-for": f"198.51.100.{number}"}


async def until_waiting(server: Server, number: int) -> None:
    """Wait until this many purchases are in lines and in transactions, over all Regions."""

    async def are_waiting() -> bool:
        async with server.session.get(f"{server.url}/metrics") as response:
            waiting = re.findall(r"^dropzero_purchases_waiting{.*} (.*)$", await response.text(), re.M)
        return sum(map(float, waiting)) == number

    await until(are_waiting)
