"""Several clients of one server in one test: it trusts this machine to say who they are."""

from dataclasses import replace
from ipaddress import ip_network

from api.settings import Settings


def trusting(settings: Settings, **more: object) -> Settings:
    """Settings of a server that takes this machine for its proxy."""
    return replace(settings, trusted_proxies=(ip_network("127.0.0.0/8"),), **more)  # type: ignore[arg-type]


def come_from(number: int) -> dict[str, str]:
    """The headers of a client, each number another."""
    return {"x-forwarded-for": f"198.51.100.{number}"}
