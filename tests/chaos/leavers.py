"""Callers that hang up: in their request, at a byte of the answer or at a moment, over sockets of their own."""

import asyncio
import contextlib
import json
import re
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass

HOST = "127.0.0.1"
PATIENCE_S = 15.0
_RESETTING = struct.pack("ii", 1, 0)
"""Linger for zero seconds: closing then resets the connection."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a caller asks, and when it leaves: after so many bytes or so many seconds, whichever comes first.

    `sends` is the share of the request that it sends. `first`, if any, is what it has had a whole answer to before, over
    the same connection.
    """

    nonce: str
    body: Mapping[str, object]
    most_bytes: int
    most_s: float
    sends: float = 1.0
    resets: bool = False
    first: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """How a visit ended. `left_at` is wall-clock time; an answer that was whole by then was not left."""

    visit: Visit
    left_at: float
    received: bytes
    is_whole: bool


async def pay_visit(visit: Visit, *, port: int, key: str) -> Parting:
    """Ask, read for as long as the visit says, and hang up."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        if visit.first is not None:
            await _stay(reader, writer, _request(visit.first, key))
        request = _request(visit.body, key)
        writer.write(request[: round(len(request) * visit.sends)])
        received = await _read(reader, most_bytes=visit.most_bytes, most_s=visit.most_s)
    finally:
        left_at = time.time()
        _hang_up(writer, resets=visit.resets)
    return Parting(visit=visit, left_at=left_at, received=received, is_whole=_is_whole(received))


async def _stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        await reader.readexactly(int(length[1]) if length else 0)


async def _read(reader: asyncio.StreamReader, *, most_bytes: int, most_s: float) -> bytes:
    received = bytearray()
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(most_s):
            while missing := most_bytes - len(received):
                piece = await reader.read(missing)
                if not piece:
                    break
                received += piece
                if _is_whole(received):
                    break
    return bytes(received)


def _hang_up(writer: asyncio.StreamWriter, *, resets: bool) -> None:
    if resets:
        connection: socket.socket = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESETTING)
    writer.transport.abort()


def _request(body: Mapping[str, object], key: str) -> bytes:
    payload = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: {HOST}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


def _is_whole(received: bytes | bytearray) -> bool:
    head, end, answer = bytes(received).partition(b"\r\n\r\n")
    if not end:
        return False
    length = _LENGTH.search(head)
    return answer.endswith(b"\r\n0\r\n\r\n") if length is None else len(answer) >= int(length[1])
