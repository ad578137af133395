"""A client that hides nothing: the bytes of a reply just as they came."""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

from sandbox.server import SandboxServer

QUESTION = {"role": "user", "content": "Qu'est-ce que la forêt — in 30 words"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawReply:
    head: str
    body: bytes
    reads: tuple[bytes, ...]
    first_byte_ms: float
    total_ms: float

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    def header(self, name: str) -> str | None:
        lines = (line.partition(": ") for line in self.head.split("\r\n")[1:])
        return next((value for key, _, value in lines if key == name), None)

    def unchunk(self) -> bytes:
        """Return the body without its framing; fails where that is broken or incomplete."""
        rest, body = self.body, b""
        while True:
            size, _, rest = rest.partition(b"\r\n")
            if int(size, 16) == 0:
                assert rest == b"\r\n"
                return body
            body += rest[: int(size, 16)]
            assert rest[int(size, 16) :].startswith(b"\r\n")
            rest = rest[int(size, 16) + 2 :]


async def post_chat(server: SandboxServer, *, stream: bool = False, **fields: Any) -> RawReply:
    """Send one chat request on a connection of its own and read until the vendor closes it."""
    started_at = time.monotonic()
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        writer.write(encode_chat(stream=stream, **fields))
        reads, first_byte_at = [], None
        while data := await reader.read(65_536):
            first_byte_at = first_byte_at or time.monotonic()
            reads.append(data)
    finally:
        writer.close()
    ended_at = time.monotonic()
    head, _, body = b"".join(reads).partition(b"\r\n\r\n")
    return RawReply(
        head=head.decode(),
        body=body,
        reads=tuple(reads),
        first_byte_ms=((first_byte_at or ended_at) - started_at) * 1000,
        total_ms=(ended_at - started_at) * 1000,
    )


def encode_chat(*, stream: bool, close: bool = True, **fields: Any) -> bytes:
    chat = {
        "model": "sandbox-frontier",
        "messages": [QUESTION],
        "stream": stream,
        "stream_options": {"include_usage": True},
        **fields,
    }
    body = json.dumps(chat).encode()
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "authorization: Bearer any",
        f"content-length: {len(body)}",
        *(("connection: close",) if close else ()),
    )
    return "\r\n".join((*lines, "", "")).encode() + body


def parse_events(body: bytes) -> list[Any]:
    """Decode the events of a well-formed stream, `[DONE]` as the text that it is."""
    frames = body.replace(b"\r\n", b"\n").split(b"\n\n")
    data = [frame.removeprefix(b"data: ") for frame in frames if frame.startswith(b"data: ")]
    return [event.decode() if event == b"[DONE]" else json.loads(event) for event in data]
