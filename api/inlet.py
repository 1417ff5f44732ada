"""The inlet of a connection: reads input in small pieces, and no faster than its client's share of time allows."""

import asyncio
from collections.abc import Callable
from math import inf
from time import thread_time
from typing import Protocol, cast

from api.identity.admission import Admission
from api.identity.clients import LOCAL, client_of
from api.identity.quota import Claim, QuotaSpent
from api.identity.turns import LENGTH
from api.slow_clients import PIECE

FREE = 0.0002
"""Seconds of processor time to read a request or a message. The usual one takes half of that. Any more, such as for a
message among a hundred pings, is paid for in turns."""

_BUFFER = memoryview(bytearray(PIECE))
"""One buffer for all connections: its content is passed on before anything else is read."""


class Inner(Protocol):
    """What an inlet passes its pieces to: the protocol of a connection, HTTP or websocket."""

    arrived: int
    """Complete requests and messages that have arrived."""

    @property
    def reading_paused(self) -> bool:
        """Whether the protocol has paused reading."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> bool | None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...


class Inlet(asyncio.BufferedProtocol):
    """Stands between a transport and its current protocol.

    FREE seconds are free for each request and message. When a connection's input has taken a turn's length more than
    that, the connection is next read in its client's turn. Until then the bytes stay in the kernel.

    A process has a limit of connections. When all are open, the newest connection of the client with most connections
    is closed.
    """

    _transport: asyncio.Transport
    _client: str
    _claim: Claim | None = None
    _used = 0.0
    _cancel_turn: Callable[[], None] | None = None
    _held = b""

    def __init__(self, inner: Inner, admission: Admission) -> None:
        self._inner = inner
        self._admission = admission

    def switch_to(self, inner: Inner) -> None:
        """Pass everything to another protocol from now on."""
        self._inner = inner
        self._transport.set_protocol(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else LOCAL
        # A proxy's connections carry the requests of other clients: each connection counts as a client here.
        self._client = f"{host} {id(self)}" if self._admission.clients.is_proxy(host) else client_of(host)
        try:
            self._claim = self._admission.connections.take(self._client, 1, self._transport.abort)
        except QuotaSpent:
            self._admission.refusals.count("a connection, as all are in use,", client_of(host))
            self._transport.abort()
            return
        self._inner.connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._cancel_turn is not None:
            self._cancel_turn()
        if self._claim is not None:
            self._admission.connections.give_back(self._claim)
            self._claim = None  # the claim and this inlet refer to each other
            self._inner.connection_lost(exc)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(_BUFFER[:nbytes])
        if self._cancel_turn is None:
            self._read(data)
        else:  # the protocol has resumed reading
            self._held += data
            self._transport.pause_reading()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()

    def _read(self, data: bytes) -> None:
        inner, arrived = self._inner, self._inner.arrived
        # Time of this thread on the processor: the client does not pay for other processes.
        begun = thread_time()
        inner.data_received(data)
        used = thread_time() - begun
        free = FREE * (inner.arrived - arrived) if self._inner is inner else inf
        self._used = max(0.0, self._used + used - free)
        if self._used >= LENGTH and not self._transport.is_closing():
            self._transport.pause_reading()
            self._cancel_turn = self._admission.turns.later(self._client, self._used, self._resume)

    def _resume(self) -> None:
        self._cancel_turn = None
        self._used = 0.0
        held, self._held = self._held, b""
        if held:
            try:
                self._read(held)
            except BaseException:
                self._transport.abort()  # as the transport does when a protocol raises
                raise
        if self._cancel_turn is None and not self._transport.is_closing() and not self._inner.reading_paused:
            self._transport.resume_reading()
