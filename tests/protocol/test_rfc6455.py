"""Websocket frames as RFC 6455 defines them, on raw sockets: what is answered, and with which code a socket closes."""

import asyncio
import struct

import pytest

from api.server import MAX_MESSAGE
from api.websocket_protocol import MAX_FRAGMENTS
from tests.protocol.frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close,
    fragments,
    frame,
    opened,
)
from tests.protocol.raw import PIECES, pieces_of
from tests.server import Server

INIT = b'{"type":"connection_init"}'
ACK = (TEXT, b'{"type":"connection_ack"}')
BYE = close(1000)
EURO = '{"type":"connection_init","payload":{"a":"€"}}'.encode()
MIDDLE = EURO.index("€".encode()) + 1
"""A cut within the bytes of one character."""

Frames = list[tuple[int, bytes]]


def closed(code: int) -> tuple[int, bytes]:
    return CLOSE, struct.pack("!H", code)


def padded(size: int) -> bytes:
    """Return a connection_init of so many bytes."""
    return INIT + b" " * (size - len(INIT))


ANSWERED: dict[str, tuple[bytes, Frames]] = {
    "a text": (frame(TEXT, INIT), [ACK]),
    "a text masked with zeros": (frame(TEXT, INIT, mask=b"\0\0\0\0"), [ACK]),
    "a text in two fragments": (fragments(INIT[:5], INIT[5:]), [ACK]),
    "a text in as many fragments as there are bytes": (
        fragments(*[bytes([byte]) for byte in INIT]),
        [ACK],
    ),
    "a text between empty fragments": (fragments(b"", b"", INIT, b"", b""), [ACK]),
    "as many fragments as there may be": (
        fragments(*[b""] * (MAX_FRAGMENTS - 1), INIT),
        [ACK],
    ),
    "a character in two fragments": (fragments(EURO[:MIDDLE], EURO[MIDDLE:]), [ACK]),
    "a text as long as it may be": (frame(TEXT, padded(MAX_MESSAGE)), [ACK]),
    "fragments as long as they may be": (
        fragments(padded(MAX_MESSAGE - 10), b" " * 10),
        [ACK],
    ),
    "a ping": (frame(PING), [(PONG, b"")]),
    "a ping with a payload": (frame(PING, b"\0\xff"), [(PONG, b"\0\xff")]),
    "a ping as long as it may be": (frame(PING, b"a" * 125), [(PONG, b"a" * 125)]),
    "a ping between fragments": (
        frame(TEXT, INIT[:5], fin=False) + frame(PING, b"a") + frame(CONTINUATION, INIT[5:]),
        [(PONG, b"a"), ACK],
    ),
    "a pong that nobody wants": (frame(PONG, b"a") + frame(TEXT, INIT), [ACK]),
    "a pong between fragments": (
        frame(TEXT, INIT[:5], fin=False) + frame(PONG) + frame(CONTINUATION, INIT[5:]),
        [ACK],
    ),
}

CLOSED: dict[str, tuple[bytes, tuple[int, bytes]]] = {
    "a close without a code": (frame(CLOSE), (CLOSE, b"")),
    "a close with a reason": (close(1000, "für immer".encode()), (CLOSE, b"\x03\xe8" + "für immer".encode())),
    "a close as long as it may be": (close(1000, b"a" * 123), (CLOSE, b"\x03\xe8" + b"a" * 123)),
    "a message behind the close": (BYE + frame(TEXT, INIT), closed(1000)),
    "garbage behind the close": (BYE + frame(3) + b"\xff" * 100, closed(1000)),
    "two closes": (close(1000) + close(1001), closed(1000)),
} | {
    f"a close with {code}": (close(code), closed(code))
    for code in (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
}

REFUSED: dict[str, tuple[bytes, int]] = (
    {
        "a text without a mask": (frame(TEXT, INIT, mask=None), 1002),
        "an empty text without a mask": (frame(TEXT, mask=None), 1002),
        "a ping without a mask": (frame(PING, mask=None), 1002),
        "a close without a mask": (frame(CLOSE, b"\x03\xe8", mask=None), 1002),
        "a fragmented ping": (frame(PING, fin=False), 1002),
        "a fragmented pong": (frame(PONG, fin=False), 1002),
        "a fragmented close": (frame(CLOSE, fin=False), 1002),
        "a ping that is too long": (frame(PING, b"a" * 126), 1002),
        "a pong that is too long": (frame(PONG, b"a" * 126), 1002),
        "a close that is too long": (close(1000, b"a" * 124), 1002),
        "a continuation of nothing": (frame(CONTINUATION, INIT), 1002),
        "a continuation of nothing that goes on": (frame(CONTINUATION, INIT, fin=False), 1002),
        "a continuation of what has ended": (fragments(INIT[:5], INIT[5:]) + frame(CONTINUATION), 1002),
        "a text within a text": (frame(TEXT, b"{", fin=False) + frame(TEXT, INIT), 1002),
        "a binary within a text": (frame(TEXT, b"{", fin=False) + frame(BINARY, INIT), 1002),
        "a fragmented text within a text": (frame(TEXT, b"{", fin=False) * 2, 1002),
        "a close within a text": (frame(TEXT, b"{", fin=False) + close(1000), 1002),
        "a close of one byte": (frame(CLOSE, b"\x03"), 1002),
        "a close whose reason is not UTF-8": (close(1000, b"\xff"), 1007),
        "a close whose reason ends within a character": (close(1000, b"\xe2\x82"), 1007),
        "a text that is not UTF-8": (frame(TEXT, b'{"type":"\xff"}'), 1007),
        "a text in Latin-1": (frame(TEXT, b'{"type":"\xe4"}'), 1007),
        "a text with a surrogate": (frame(TEXT, b'"\xed\xa0\x80"'), 1007),
        "a text with too long a form of a slash": (frame(TEXT, b'"\xc0\xaf"'), 1007),
        "a text beyond Unicode": (frame(TEXT, b'"\xf4\x90\x80\x80"'), 1007),
        "a text that ends within a character": (frame(TEXT, EURO[:MIDDLE]), 1007),
        "fragments that end within a character": (fragments(EURO[: MIDDLE - 1], EURO[MIDDLE - 1 : MIDDLE]), 1007),
        "a fragment that is not UTF-8": (fragments(b"\xff", INIT), 1007),
        "an empty text": (frame(TEXT), 4400),
        "an empty text in fragments": (fragments(b"", b"", b""), 4400),
        "a binary": (frame(BINARY, INIT), 4400),
        "a binary in fragments": (fragments(INIT[:5], INIT[5:], opcode=BINARY), 4400),
        "an empty binary": (frame(BINARY), 4400),
        "a text that is too long": (frame(TEXT, padded(MAX_MESSAGE + 1)), 1009),
        "a binary that is too long": (frame(BINARY, padded(MAX_MESSAGE + 1)), 1009),
        "fragments that are too long": (fragments(padded(MAX_MESSAGE), b" "), 1009),
        "a length of 2^32": (frame(TEXT, b"a", length=1 << 32), 1009),
        "a length of 2^63": (frame(TEXT, b"a", length=1 << 63), 1009),
        "too many fragments": (fragments(*[b""] * MAX_FRAGMENTS, INIT), 1008),
        "empty fragments without end": (
            frame(TEXT, fin=False) + frame(CONTINUATION, fin=False) * 2 * MAX_FRAGMENTS,
            1008,
        ),
        "too many fragments of a binary": (fragments(*[b""] * MAX_FRAGMENTS, INIT, opcode=BINARY), 1008),
    }
    | {f"the reserved bits {bits:03b}": (frame(TEXT, INIT, reserved=bits), 1002) for bits in range(1, 8)}
    | {f"the opcode {opcode:x}": (frame(opcode), 1002) for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)}
    | {
        f"a close with {code}": (close(code), 1002)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    }
)


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("case", ANSWERED)
async def test_valid_frames_are_answered(server: Server, case: str, pieces: str) -> None:
    data, expected = ANSWERED[case]
    async with opened(server) as socket:
        await socket.connection.send(*pieces_of(data, pieces))
        assert [await socket.frame() for _ in expected] == expected

        await socket.connection.send(BYE)
        assert await socket.frames() == [closed(1000)]


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("case", CLOSED)
async def test_a_close_is_answered_with_the_same_code(server: Server, case: str, pieces: str) -> None:
    data, expected = CLOSED[case]
    async with opened(server) as socket:
        frames = asyncio.create_task(socket.frames())  # bytes sent behind the close may reset the connection
        await socket.connection.send(*pieces_of(data, pieces))

        assert await frames == [expected]


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("case", REFUSED)
async def test_frames_that_are_not_valid_close_the_socket(
    server: Server, caplog: pytest.LogCaptureFixture, case: str, pieces: str
) -> None:
    data, code = REFUSED[case]
    async with opened(server) as socket:
        await socket.connection.send(*pieces_of(data, pieces))
        *_, (opcode, payload) = await socket.frames()

    assert opcode == CLOSE
    assert int.from_bytes(payload[:2]) == code
    assert len(payload) > 2, "it says why"
    assert [record for record in caplog.records if record.name != "dropzero.refusals"] == []


@pytest.mark.parametrize("pieces", PIECES)
async def test_the_last_of_many_pings_is_answered(server: Server, pieces: str) -> None:
    """Earlier pings need no answer (section 5.5.3)."""
    pings = b"".join(frame(PING, b"%d" % number) for number in range(10))
    async with opened(server) as socket:
        await socket.connection.send(*pieces_of(pings + BYE, pieces))
        *answers, end = await socket.frames()

    assert end == (CLOSE, b"\x03\xe8")
    assert {opcode for opcode, _ in answers} == {PONG}
    assert [payload for _, payload in answers] == sorted(payload for _, payload in answers)
    assert answers[-1] == (PONG, b"9")
