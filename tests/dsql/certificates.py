"""TLS of the stand-in: a throw-away certificate authority, and certificates that it made."""

import ssl
from pathlib import Path

import trustme

HOST = "localhost"
"""The name of every endpoint, and what a client must say by SNI."""

_SNI = "name_by_sni"  # where a connection keeps it, which ssl itself does not on this side


class Authority:
    """A certificate authority that lives as long as the tests; `file` is what a client is to trust."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.file = directory / "dsql-authority.pem"
        self._authority.cert_pem.write_to_path(self.file)
        self.tls = self.context_for(HOST)

    def context_for(self, host: str) -> ssl.SSLContext:
        """What an endpoint with a certificate of this authority for `host` presents."""
        return _context(self._authority, host)

    def unknown_context(self) -> ssl.SSLContext:
        """What an endpoint with a certificate of an authority that nobody knows presents."""
        return _context(trustme.CA(), HOST)


def _context(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    context.sni_callback = _remember_name
    return context


def _remember_name(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
    setattr(connection, _SNI, name)


def expected_name(connection: ssl.SSLObject) -> str | None:
    """The name that the client says it is talking to, by SNI; None when it says none."""
    return getattr(connection, _SNI, None)
