from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.providers.sse import Event, EventDecoder, EventTooLongError

STREAM = (
    "\ufeff: a comment\r\n"
    'data: {"text":"é€🌍"}\n\n'
    "event: error\rdata: first\rdata:second\r\r"
    "id: 7\nretry: 10\ndata\n\n"
    ":\n\n"
    "data: glued\n\ndata: [DONE]\r\n\r\n"
).encode()
EVENTS = [
    Event(name=b"", data='{"text":"é€🌍"}'.encode()),
    Event(name=b"error", data=b"first\nsecond"),
    Event(name=b"", data=b""),
    Event(name=b"", data=b"glued"),
    Event(name=b"", data=b"[DONE]"),
]


def decode(pieces: list[bytes]) -> list[Event]:
    decoder = EventDecoder()
    events = [event for piece in pieces for event in decoder.feed(piece)]
    return events + decoder.close()


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def test_events_are_read_whatever_their_line_ends() -> None:
    assert decode([STREAM]) == EVENTS


@given(cuts=st.lists(st.integers(0, len(STREAM))))
def test_no_split_of_the_bytes_changes_the_events(cuts: list[int]) -> None:
    assert decode(split(STREAM, cuts)) == EVENTS


@given(
    lines=st.lists(st.sampled_from([b"data: a", b"data:", b"event: x", b": c", b"", b"da", b"\xe2\x82"])),
    ends=st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=1),
    data=st.data(),
)
def test_any_stream_decodes_alike_however_it_is_split(
    lines: list[bytes], ends: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + ends[position % len(ends)] for position, line in enumerate(lines))
    cuts = data.draw(st.lists(st.integers(0, len(stream))))

    assert decode(split(stream, cuts)) == decode([stream])


def test_a_last_event_without_its_blank_line_still_counts() -> None:
    assert decode([b"data: [DONE]"]) == [Event(name=b"", data=b"[DONE]")]


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 10,  # one line without an end
        b"data: 123456\n",  # many lines of one event
    ],
)
def test_an_event_without_end_is_refused_before_it_fills_the_memory(piece: bytes) -> None:
    decoder = EventDecoder(max_event_bytes=100)

    with pytest.raises(EventTooLongError):
        for _ in range(100):
            decoder.feed(piece)
