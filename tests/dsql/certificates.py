"""TLS of the stand-in: a temporary certificate authority, and its certificates."""

import ssl
from datetime import datetime
from pathlib import Path

import trustme

HOST = "localhost"
"""The name of every endpoint, which a client has to send by SNI."""

_SNI = "name_by_sni"  # our attribute of a connection: ssl itself does not keep the name on the server's side


class Authority:
    """A certificate authority for one run of the tests. `file` holds its certificate, for clients to trust."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA()
        self.file = directory / "dsql-authority.pem"
        self._authority.cert_pem.write_to_path(self.file)
        self.tls = self.context_for(HOST)

    def context_for(self, host: str, until: datetime | None = None) -> ssl.SSLContext:
        """The context of an endpoint with a certificate of this authority for `host`, valid until then."""
        return _context(self._authority, host, until)

    def unknown_context(self) -> ssl.SSLContext:
        """The context of an endpoint with a certificate of an unknown authority."""
        return _context(trustme.CA(), HOST)


def _context(authority: trustme.CA, host: str, until: datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, not_after=until).configure_cert(context)
    context.sni_callback = _remember_name
    return context


def _remember_name(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
    setattr(connection, _SNI, name)


def expected_name(connection: ssl.SSLObject) -> str | None:
    """The name that the client sent by SNI; None if it sent none."""
    return getattr(connection, _SNI, None)
