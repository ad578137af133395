"""Requests are read alike however the network splits them, and what is no request is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.wire import (
    MAX_HEAD_BYTES,
    Ending,
    Framing,
    HttpRequest,
    Piece,
    ProtocolError,
    Reply,
    RequestParser,
)

REQUESTS = (
    b"POST /v1/chat/completions?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\n\r\n"
    b"GET /b HTTP/1.1\r\nConnection: close\r\n\r\n"
)


def _parse(*pieces: bytes) -> list[HttpRequest]:
    parser = RequestParser()
    return [request for piece in pieces for request in parser.feed(piece)]


def test_pipelined_requests_are_read_in_turn():
    first, second, third = _parse(REQUESTS)

    assert (first.head.method, first.path, first.body) == ("POST", "/v1/chat/completions", b"hello")
    assert (second.path, second.body) == ("/a", b"abc0123456789")
    assert (third.path, third.body, third.wants_close) == ("/b", b"", True)


@given(st.lists(st.integers(0, len(REQUESTS))))
def test_any_split_reads_the_same(cuts: list[int]):
    edges = [0, *sorted(cuts), len(REQUESTS)]
    pieces = [REQUESTS[start:end] for start, end in pairwise(edges)]

    assert _parse(*pieces) == _parse(REQUESTS)


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * MAX_HEAD_BYTES,
    ],
    ids=["no-http", "version", "length", "negative", "huge", "chunk", "endless-head"],
)
def test_what_is_no_request_is_refused(data: bytes):
    with pytest.raises(ProtocolError):
        _parse(data)


@pytest.mark.parametrize(
    ("ending", "tail"), [(Ending.KEEP_ALIVE, b"0\r\n\r\n"), (Ending.CLOSE, b""), (Ending.RESET, b"")]
)
def test_only_a_whole_reply_gets_its_last_chunk(ending: Ending, tail: bytes):
    assert Reply(framing=Framing.CHUNKED, ending=ending).encode_end() == tail


def test_an_empty_piece_does_not_end_a_chunked_body():
    assert Reply(framing=Framing.CHUNKED).encode_piece(Piece(data=b"")) == b""


def test_a_status_without_a_name_is_sent():
    assert Reply(status=529).encode_head().startswith(b"HTTP/1.1 529 Unknown\r\n")
