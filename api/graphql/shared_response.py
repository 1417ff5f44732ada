"""The response of a broadcast: encoded once, and framed once for all ids of one length."""

import orjson
from websockets.frames import Frame, Opcode

from api.graphql.connection import FrameParts


class SharedResponse:
    """A response, and the messages of graphql-transport-ws in which it is delivered to the watchers.

    Of the parts of a frame, the header depends on the length of the operation's id alone, and the text behind the id is
    the same for all. Clients of graphql-ws send UUIDs or numbers, so that a few headers serve thousands of watchers.
    """

    __slots__ = ("_headers", "_rest", "json")

    def __init__(self, json: bytes) -> None:
        self.json = json
        self._rest = b',"type":"next","payload":' + json + b"}"
        self._headers: dict[int, bytes] = {}

    def frame(self, beginning: bytes) -> FrameParts:
        """The `next` message of an operation. `beginning` is that of its messages, with its id."""
        length = len(beginning)
        header = self._headers.get(length)
        if header is None:
            header = self._headers[length] = header_of(length + len(self._rest))
        return header, beginning, self._rest


def beginning_of(operation_id: str) -> bytes:
    """The beginning of every message of an operation."""
    return b'{"id":' + orjson.dumps(operation_id)


def header_of(size: int) -> bytes:
    """The header of a text frame of a server, whose text has this many bytes."""
    frame = Frame(Opcode.TEXT, bytes(size)).serialize(mask=False)
    return frame[: len(frame) - size]
