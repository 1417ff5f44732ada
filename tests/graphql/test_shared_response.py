"""The frames of a broadcast's response: byte by byte those that the websockets library would send."""

import orjson
import pytest
from websockets.frames import Frame, Opcode

from api.graphql.shared_response import SharedResponse, beginning_of, header_of

IDS = ["1", "2", "10", '"', "\\", "é😀", "\n\0", "}", "x" * 200, "8f4a2c9e-3b1d-4c5f-9a7e-6d2b1c0f8e3a"]
SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 200_000]


def response_of(size: int) -> bytes:
    return orjson.dumps({"data": "ä" + "x" * size})


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("operation_id", IDS)
def test_a_frame_is_that_of_the_whole_message(operation_id: str, size: int) -> None:
    json = response_of(size)
    message = orjson.dumps({"id": operation_id, "type": "next", "payload": orjson.Fragment(json)})

    frame = SharedResponse(json).frame(beginning_of(operation_id))

    assert b"".join(frame) == Frame(Opcode.TEXT, message).serialize(mask=False)


@pytest.mark.parametrize("size", SIZES)
def test_a_header_is_that_of_a_text_frame(size: int) -> None:
    assert header_of(size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)[: -size or None]


def test_frames_share_all_but_the_id() -> None:
    response = SharedResponse(response_of(1_000))
    (header, first, rest), (same_header, second, same_rest) = (response.frame(beginning_of(each)) for each in "12")
    assert first != second
    assert header is same_header
    assert rest is same_rest
