"""Certificates of receivers, from an authority that only the tests trust."""

import ssl
from datetime import datetime
from functools import cache

import trustme


@cache
def authority(name: str = "trusted") -> trustme.CA:
    """An authority: one for each name."""
    return trustme.CA(organization_name=name)


def server_context(host: str, by: str = "trusted", until: datetime | None = None) -> ssl.SSLContext:
    """The context of a receiver with a certificate for a host, which the authority `by` has signed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority(by).issue_cert(host, not_after=until).configure_cert(context)
    return context


def trusting(name: str = "trusted") -> ssl.SSLContext:
    """The context of a sender that trusts an authority."""
    context = ssl.create_default_context()
    authority(name).configure_trust(context)
    return context
