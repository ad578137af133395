import struct
import zlib

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.providers.event_stream import Frame, FrameDecoder
from dispatch_app.providers.sse import EventTooLongError

NAMES = st.text(min_size=1, max_size=8)
TEXTS = st.text(max_size=20)
VALUES = st.one_of(
    st.tuples(st.just(7), TEXTS.map(str.encode).map(lambda value: struct.pack(">H", len(value)) + value)),
    st.tuples(st.just(6), st.binary(max_size=9).map(lambda value: struct.pack(">H", len(value)) + value)),
    *(
        st.tuples(st.just(kind), st.binary(min_size=size, max_size=size))
        for kind, size in ((0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (5, 8), (8, 8), (9, 16))
    ),
)
MESSAGES = st.tuples(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(max_size=40))


def encode(headers: dict[str, tuple[int, bytes]], payload: bytes) -> bytes:
    head = b"".join(
        bytes([len(name.encode())]) + name.encode() + bytes([kind]) + value
        for name, (kind, value) in headers.items()
    )
    prelude = struct.pack(">II", len(head) + len(payload) + 16, len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


def decoded_by_botocore(data: bytes) -> list[Frame]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [Frame(headers=message.headers, payload=message.payload) for message in buffer]


def texts_of(headers: dict[str, tuple[int, bytes]]) -> set[str]:
    return {name for name, (kind, _) in headers.items() if kind == 7}


@given(st.lists(MESSAGES, max_size=4), st.data())
def test_messages_are_read_as_botocore_reads_them_however_they_are_split(
    messages: list[tuple[dict[str, tuple[int, bytes]], bytes]], data: st.DataObject
) -> None:
    stream = b"".join(encode(headers, payload) for headers, payload in messages)
    edges = [0, *sorted(data.draw(st.sets(st.integers(0, len(stream))))), len(stream)]
    decoder = FrameDecoder()

    frames = [
        frame
        for begin, end in zip(edges, edges[1:], strict=False)  # noqa: RUF007 - a pair of edges, not of items
        for frame in decoder.feed(stream[begin:end])
    ]

    expected = decoded_by_botocore(stream)
    assert [frame.payload for frame in frames] == [frame.payload for frame in expected]
    for frame, told, (headers, _) in zip(frames, expected, messages, strict=True):
        assert frame.headers == {name: told.headers[name] for name in texts_of(headers)}


@given(MESSAGES, st.data())
def test_no_message_with_a_wrong_byte_is_read(
    message: tuple[dict[str, tuple[int, bytes]], bytes], data: st.DataObject
) -> None:
    stream = bytearray(encode(*message))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))

    with pytest.raises((InvalidReplyError, EventTooLongError)):
        list(FrameDecoder().feed(bytes(stream)))


@pytest.mark.parametrize(
    "headers",
    [
        {"kind": (10, b"")},
        {"long": (7, b"\x00\x09short")},
        {"bare": (7, b"\x00")},
        {"text": (7, b"\x00\x01\xff")},
        {"cut": (9, b"\x00")},
    ],
)
def test_headers_that_cannot_be_read_are_no_event_stream(headers: dict[str, tuple[int, bytes]]) -> None:
    with pytest.raises(InvalidReplyError):
        list(FrameDecoder().feed(encode(headers, b"{}")))


def test_a_message_may_be_as_long_as_the_limit_and_no_longer() -> None:
    stream = encode({}, b"x" * 84)

    assert len(list(FrameDecoder(max_frame_bytes=100).feed(stream))) == 1
    with pytest.raises(EventTooLongError):
        list(FrameDecoder(max_frame_bytes=99).feed(stream[:20]))
