"""The inlet of a connection: what its client sends, in small pieces, and no more of them than others can bear."""

import asyncio
from collections.abc import Callable
from math import inf
from time import thread_time
from typing import Protocol, cast

from api.identity.admission import Admission
from api.identity.clients import LOCAL, client_of
from api.identity.quota import Claim, QuotaSpent
from api.identity.turns import LENGTH
from api.impatient import PIECE

FREE = 0.0002
"""Seconds that a request or message may take to be read. The usual takes half of that; what takes longer, such as a
message among a hundred pings, is paid for in turns."""

_BUFFER = memoryview(bytearray(PIECE))
"""One for all connections: what is read into it is handed on before anything else is read."""


class Inner(Protocol):
    """What an inlet hands its pieces to: the protocol of a connection that speaks HTTP or has become a websocket."""

    arrived: int
    """Requests and messages that have come whole."""

    @property
    def reading_paused(self) -> bool:
        """Whether it wants no more for now."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Inlet(asyncio.BufferedProtocol):
    """Stands between a transport and its protocol, whichever that is at the time.

    A client whose input takes a turn's time more than FREE for each request and message in it waits for its turns with
    the rest of it, which stays in the kernel. A process has so many connections; when all are open, the newest of the
    client with most of them is cut.
    """

    _transport: asyncio.Transport
    _client: str
    _claim: Claim | None = None
    _used = 0.0
    _withdraw: Callable[[], None] | None = None
    _held = b""

    def __init__(self, inner: Inner, admission: Admission) -> None:
        self._inner = inner
        self._admission = admission

    def switch_to(self, inner: Inner) -> None:
        """From here on the connection is another protocol's."""
        self._inner = inner
        self._transport.set_protocol(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else LOCAL
        # A proxy's connections carry the requests of others, so that each of them is a client of its own here.
        self._client = f"{host} {id(self)}" if self._admission.clients.is_proxy(host) else client_of(host)
        try:
            self._claim = self._admission.connections.take(self._client, 1, self._transport.abort)
        except QuotaSpent:
            self._admission.refusals.count("a connection, as all are in use,", client_of(host))
            self._transport.abort()
            return
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._withdraw is not None:
            self._withdraw()
        if self._claim is not None:
            self._admission.connections.give_back(self._claim)
            self._claim = None  # the two refer to each other
            self._inner.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_BUFFER[:nbytes])
        if self._withdraw is None:
            self._take(data)
        else:  # the protocol has resumed reading by itself
            self._held += data
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _take(self, data: bytes) -> None:
        inner, arrived = self._inner, self._inner.arrived
        # Time on the processor: what the system gives to other processes meanwhile is not the client's.
        begun = thread_time()
        inner.data_received(data)
        used = thread_time() - begun
        free = FREE * (inner.arrived - arrived) if self._inner is inner else inf
        self._used = max(0.0, self._used + used - free)
        if self._used >= LENGTH and not self._transport.is_closing():
            self._transport.pause_reading()
            self._withdraw = self._admission.turns.later(self._client, self._used, self._resume)

    def _resume(self) -> None:
        self._withdraw = None
        self._used = 0.0
        held, self._held = self._held, b""
        if held:
            try:
                self._take(held)
            except BaseException:
                self._transport.abort()  # as the transport itself does where a protocol fails
                raise
        if self._withdraw is None and not self._transport.is_closing() and not self._inner.reading_paused:
            self._transport.resume_reading()
