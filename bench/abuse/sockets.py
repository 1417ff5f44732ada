"""The connections of an attacker: raw sockets with as little work as possible, a class for each manner of sending."""

import asyncio
import re
from collections.abc import Callable
from typing import cast

import orjson

from bench.abuse.attack import Attack, Manner, Messages, Tally, Target, frame

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA

PIPELINED = 100
"""Requests of a pipeline that wait for their answers at the same time."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CODE = re.compile(rb'"code": ?"([A-Za-z_]+)"')
_STATUS = re.compile(rb'"status": ?"([A-Z_]+)"')


class Connection(asyncio.Protocol):
    """A connection of an attack. `ready` is done when the attack has begun on it, `gone` when it has ended."""

    transport: asyncio.Transport

    def __init__(self, attack: Attack, target: Target, tally: Tally) -> None:
        self.attack = attack
        self.target = target
        self.tally = tally
        self.ready = asyncio.Event()
        self.gone = asyncio.Event()
        self.data = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.tally.connections += 1
        self.begin()

    def connection_lost(self, exception: Exception | None) -> None:
        self.ready.set()
        self.gone.set()

    def begin(self) -> None:
        """Send the first message."""
        self.ready.set()

    def send(self, message: bytes, count: int = 1) -> None:
        self.transport.write(message)
        self.tally.sent += count
        self.tally.sent_bytes += len(message)


class Requests(Connection):
    """Sends a request, reads its answer, and sends the next; a pipeline keeps more than one waiting."""

    def begin(self) -> None:
        super().begin()
        self.messages: Messages = self.attack.messages(self.target)
        message = next(self.messages)
        self.without_body = message.startswith(b"HEAD ")
        self.send(message)
        if self.attack.manner is Manner.PIPELINE:
            for _ in range(PIPELINED - 1):
                self.send(next(self.messages))

    def data_received(self, data: bytes) -> None:
        self.data += data
        while (end := response_end(self.data, without_body=self.without_body)) is not None:
            answer = bytes(self.data[:end])
            del self.data[:end]
            self.tally.answers[told(answer)] += 1
            if self.transport.is_closing():
                return
            self.send(self.messages.send(answer))


class Once(Connection):
    """Sends one message, and resets the connection after the answer. Without a message it resets at once."""

    def begin(self) -> None:
        super().begin()
        message = next(self.attack.messages(self.target))
        if message:
            self.send(message)
        else:
            self.tally.sent += 1
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self.tally.answers[told(data)] += 1
        self.transport.abort()


class Hanging(Connection):
    """Sends one message and stays open. The attack counts as begun at once."""

    def begin(self) -> None:
        self.send(next(self.attack.messages(self.target)))
        super().begin()

    def data_received(self, data: bytes) -> None:
        self.tally.answers[told(data)] += 1


class Flood(Connection):
    """Sends as fast as the connection takes bytes."""

    paused = False

    def begin(self) -> None:
        super().begin()
        if self.attack.manner is Manner.UNREAD:
            asyncio.get_running_loop().call_soon(self.stop_reading)  # uvloop begins to read after this callback
        self.flood()

    def stop_reading(self) -> None:
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def flood(self) -> None:
        self.messages: Messages = self.attack.messages(self.target)
        self.go_on()

    def go_on(self) -> None:
        if not self.paused and not self.transport.is_closing():
            try:
                message = next(self.messages)
            except StopIteration:
                return
            self.send(message, self.attack.count)
            asyncio.get_running_loop().call_soon(self.go_on)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        asyncio.get_running_loop().call_soon(self.go_on)

    def data_received(self, data: bytes) -> None:
        self.tally.answers[told(data) if data.startswith(b"HTTP/1") else "bytes"] += 1


class Websocket(Flood):
    """Opens a websocket. The subclasses differ in what they do once it is acknowledged."""

    upgraded = False

    def begin(self) -> None:
        buyer = self.attack.buyer
        self.transport.write(self.target.handshake(self.target.authorization(buyer) if buyer else ""))

    def acknowledged(self) -> None:
        """An idle socket does nothing more, and a flood begins."""
        self.ready.set()
        if self.attack.manner is Manner.FRAMES:
            self.flood()

    def data_received(self, data: bytes) -> None:
        self.data += data
        if not self.upgraded:
            head = self.data.find(b"\r\n\r\n")
            if head < 0:
                return
            if not self.data.startswith(b"HTTP/1.1 101"):
                self.tally.answers[told(bytes(self.data))] += 1
                self.transport.abort()
                return
            self.upgraded = True
            del self.data[: head + 4]
            self.transport.write(frame(TEXT, b'{"type":"connection_init"}'))
        while (end := frame_end(self.data)) is not None:
            start, stop = end
            opcode, content = self.data[0] & 0xF, bytes(self.data[start:stop])
            del self.data[:stop]
            self.read(opcode, content)

    def read(self, opcode: int, content: bytes) -> None:
        if opcode == PING:
            self.transport.write(frame(PONG, content))
        elif opcode == PONG:
            self.tally.answers["pong"] += 1
        elif opcode == CLOSE:
            self.tally.answers[f"closed {int.from_bytes(content[:2], 'big')}"] += 1
            self.transport.abort()
        elif opcode == TEXT:
            message = orjson.loads(content)
            if message["type"] == "connection_ack":
                self.acknowledged()
            elif message["type"] == "ping":
                self.transport.write(frame(TEXT, b'{"type":"pong"}'))
            else:
                self.heard(message["type"], message.get("id", ""), content)

    def heard(self, kind: str, operation: str, content: bytes) -> None:
        self.tally.answers[kind] += 1


class Operations(Websocket):
    """Keeps operations in flight over a websocket. An operation that ended is followed by the next of its kind."""

    def acknowledged(self) -> None:
        self.began = 0
        self.running: dict[str, Messages] = {}
        self.answered: set[str] = set()
        for _ in range(self.attack.in_flight):
            messages = self.attack.messages(self.target)
            self.start(messages, next(messages))
        if self.attack.manner is not Manner.SUBSCRIPTIONS:
            self.ready.set()

    def start(self, messages: Messages, operation: bytes) -> None:
        self.began += 1
        name = str(self.began)
        self.running[name] = messages
        self.send(frame(TEXT, b'{"id":"' + name.encode() + b'","type":"subscribe","payload":' + operation + b"}"))

    def heard(self, kind: str, operation: str, content: bytes) -> None:
        if kind != "complete":
            self.tally.answers[f"{kind} {body_told(content)}".strip()] += 1
        if self.attack.manner is Manner.SUBSCRIPTIONS:
            self.answered.add(operation)
            if len(self.answered) >= self.attack.in_flight:
                self.ready.set()
            return
        if kind == "next" and self.attack.manner is Manner.CHURN and operation in self.running:
            self.send(frame(TEXT, b'{"id":"' + operation.encode() + b'","type":"complete"}'), 0)
            kind = "complete"
        if kind in ("complete", "error") and operation in self.running:
            messages = self.running.pop(operation)
            self.start(messages, messages.send(content))


CLASSES: dict[Manner, Callable[[Attack, Target, Tally], Connection]] = {
    Manner.REQUESTS: Requests,
    Manner.PIPELINE: Requests,
    Manner.FLOOD: Flood,
    Manner.UNREAD: Flood,
    Manner.FRAMES: Websocket,
    Manner.OPERATIONS: Operations,
    Manner.CHURN: Operations,
    Manner.SUBSCRIPTIONS: Operations,
    Manner.IDLE: Websocket,
    Manner.CONNECTIONS: Once,
    Manner.HANGING: Hanging,
}


def told(answer: bytes) -> str:
    """A summary of an HTTP answer: its status, and the code or outcome in its body."""
    return f"{answer[9:12].decode('latin-1')} {body_told(answer)}".strip()


def body_told(content: bytes) -> str:
    """The first error's code, or the outcome of a purchase, in the JSON of an answer; empty if it has neither."""
    found = _CODE.search(content) or _STATUS.search(content)
    if found:
        return found[1].decode()
    return "errors" if b'"errors":' in content else ""


def response_end(data: bytearray, *, without_body: bool) -> int | None:
    """Where the first HTTP answer in the data ends; None if bytes of it are missing."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return None
    start = head + 4
    if without_body or bytes(data[9:12]) in (b"204", b"304"):
        return start
    length = _LENGTH.search(data, 0, head + 2)
    if length is not None:
        end = start + int(length[1])
        return end if len(data) >= end else None
    end = data.find(b"\r\n0\r\n\r\n", head + 2)  # chunked
    return end + 7 if end >= 0 else None


def frame_end(data: bytearray) -> tuple[int, int] | None:
    """Where the payload of the first unmasked frame begins and ends; None if bytes of it are missing."""
    if len(data) < 2:
        return None
    size, start = data[1], 2
    if size >= 126:
        width = 2 if size == 126 else 8
        start += width
        if len(data) < start:
            return None
        size = int.from_bytes(data[2:start], "big")
    return (start, start + size) if len(data) >= start + size else None
