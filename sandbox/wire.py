"""HTTP/1.1 as bytes: requests are parsed and replies are framed by hand. Performs no I/O.

A framework refuses to break its own framing, and a vendor that never breaks it tests nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Self, TypeAlias

import msgspec

MAX_HEAD_BYTES = 65_536
MAX_BODY_BYTES = 64 * 1024 * 1024

# The first byte of a TLS record that opens a handshake.
_TLS_HANDSHAKE = b"\x16"

Headers: TypeAlias = tuple[tuple[str, str], ...]


class ProtocolError(Exception):
    """The bytes are not an HTTP/1.1 request that this server takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHead:
    method: str
    target: str
    headers: Headers

    def header(self, name: str) -> str | None:
        """Return the first value of a header, named in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    head: RequestHead
    body: bytes

    @property
    def path(self) -> str:
        return self.head.target.partition("?")[0]

    @property
    def wants_close(self) -> bool:
        return (self.head.header("connection") or "").lower() == "close"


class RequestParser:
    """Turns bytes, however they were split, into the requests that they hold."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: RequestHead | None = None

    def feed(self, data: bytes) -> Iterator[HttpRequest]:
        """Take more bytes and yield each request that is now complete.

        :raises ProtocolError: if the bytes cannot be a request.
        """
        self._buffer += data
        while (request := self._take_request()) is not None:
            yield request

    def _take_request(self) -> HttpRequest | None:
        self._head = self._head or self._take_head()
        if self._head is None or (body := self._take_body(self._head)) is None:
            return None
        head, self._head = self._head, None
        return HttpRequest(head=head, body=body)

    def _take_head(self) -> RequestHead | None:
        if self._buffer.startswith(_TLS_HANDSHAKE):
            raise ProtocolError("the client sent a TLS handshake to a port without TLS")
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD_BYTES:
                raise ProtocolError("the request's head is too long")
            return None
        lines = self._take(end + 4)[:-4].decode("latin-1").split("\r\n")
        return _parse_head(lines)

    def _take_body(self, head: RequestHead) -> bytes | None:
        if (head.header("transfer-encoding") or "").lower() == "chunked":
            return self._take_chunks()
        length = _parse_size(head.header("content-length") or "0", base=10)
        return self._take(length) if len(self._buffer) >= length else None

    def _take_chunks(self) -> bytes | None:
        body, position = bytearray(), 0
        while (line_end := self._buffer.find(b"\r\n", position)) >= 0:
            size = _parse_size(self._buffer[position:line_end].decode("latin-1").partition(";")[0], base=16)
            start = line_end + 2
            position = start + size + 2
            if len(self._buffer) < position:
                return None
            if size == 0:
                self._take(position)
                return bytes(body)
            body += self._buffer[start : start + size]
        return None

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken


def _parse_head(lines: Sequence[str]) -> RequestHead:
    match lines[0].split(" "):
        case [method, target, "HTTP/1.1" | "HTTP/1.0"]:
            pairs = (line.partition(":") for line in lines[1:])
            headers = tuple((name.strip(), value.strip()) for name, _, value in pairs)
            return RequestHead(method=method, target=target, headers=headers)
        case _:
            raise ProtocolError("the request line is not HTTP/1.1")


def _parse_size(text: str, *, base: int) -> int:
    try:
        size = int(text, base)
    except ValueError as error:
        raise ProtocolError("a length is not a number") from error
    if not 0 <= size <= MAX_BODY_BYTES:
        raise ProtocolError("the request's body is too long")
    return size


class Framing(StrEnum):
    LENGTH = "length"
    CHUNKED = "chunked"


class Ending(StrEnum):
    """What happens to the connection after the last piece."""

    KEEP_ALIVE = "keep_alive"
    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that are written at once, `delay_ms` after those before them.

    Where the body is chunked they are a chunk; one that has no size is broken.
    """

    data: bytes
    delay_ms: float = 0
    output_tokens: int = 0
    has_size: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What goes back on the connection, and how it goes wrong.

    `declared_bytes` is the content length to state where it is not the true one, `head_bytes` how
    much of the head is sent where it is not all of it; 0 sends none. Delays by byte stand between the
    bytes of the body and of the head. An ending other than `KEEP_ALIVE` leaves a chunked body without
    its last chunk.
    """

    status: int = 200
    headers: Headers = ()
    pieces: Sequence[Piece] = ()
    framing: Framing = Framing.LENGTH
    ending: Ending = Ending.KEEP_ALIVE
    delay_ms: float = 0
    byte_delay_ms: float = 0
    head_byte_delay_ms: float = 0
    head_bytes: int | None = None
    declared_bytes: int | None = None

    @classmethod
    def json(cls, value: Any, *, status: int = 200, headers: Headers = ()) -> Self:
        """Return a plain JSON reply."""
        return cls(
            status=status,
            headers=(("content-type", "application/json"), *headers),
            pieces=(Piece(data=msgspec.json.encode(value)),),
        )

    @property
    def body_bytes(self) -> int:
        return sum(len(piece.data) for piece in self.pieces)

    def encode_head(self) -> bytes:
        """Return the status line and headers, or as much of them as is sent."""
        lines = [f"HTTP/1.1 {self.status} {_reason(self.status)}"]
        lines += [f"{name}: {value}" for name, value in (*self.headers, self._framing_header())]
        return "\r\n".join((*lines, "", "")).encode("latin-1")[: self.head_bytes]

    def encode_piece(self, piece: Piece) -> bytes:
        """Return the bytes of one piece in this reply's framing."""
        if self.framing is Framing.LENGTH or not piece.data:
            return piece.data
        size = b"%x" % len(piece.data) if piece.has_size else b"zz"
        return size + b"\r\n" + piece.data + b"\r\n"

    def encode_end(self) -> bytes:
        """Return the bytes that end the body."""
        complete = self.framing is not Framing.LENGTH and self.ending is Ending.KEEP_ALIVE
        return b"0\r\n\r\n" if complete else b""

    def _framing_header(self) -> tuple[str, str]:
        if self.framing is not Framing.LENGTH:
            return "transfer-encoding", "chunked"
        length = self.body_bytes if self.declared_bytes is None else self.declared_bytes
        return "content-length", str(length)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
