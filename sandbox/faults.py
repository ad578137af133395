"""Everything that a vendor can do wrong, as functions from the reply it meant to the reply it sends."""

import gzip
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import cache
from threading import Lock
from typing import Any

import msgspec

from sandbox.errors import error_body
from sandbox.wire import Ending, Framing, Piece, Reply

_BLOCK = b"x" * 65_536
_DONE = b"data: [DONE]\n\n"


class FaultKind(StrEnum):
    """What goes wrong. The fields of `Fault` that a kind reads stand behind it.

    A kind that is about events leaves a plain reply as it is.
    """

    DELAY = "delay"  # delay_ms, chunk_delay_ms; every other kind reads these too
    STATUS = "status"  # status, retry_after, message, code
    HANG = "hang"  # falls silent before the headers, or after_bytes of the body
    CUT = "cut"  # closes the connection at the same places
    RESET = "reset"  # resets it there
    STREAM_ERROR = "stream_error"  # an error event after_chunks, message, code; then the end
    MISSING_DONE = "missing_done"
    MISSING_USAGE = "missing_usage"
    MISSING_CHOICES = "missing_choices"
    USAGE = "usage"  # usage: fields to report instead of the true ones
    CONTENT = "content"  # content: what the model says
    MALFORMED_JSON = "malformed_json"
    HTML = "html"
    EMPTY = "empty"
    WRONG_CONTENT_TYPE = "wrong_content_type"
    REDIRECT = "redirect"  # location
    OVERSIZED = "oversized"  # size_bytes of padding inside otherwise good JSON
    ENDLESS_LINE = "endless_line"  # size_bytes without a line feed
    HEADER_BOMB = "header_bomb"  # size_bytes of headers
    GZIP_BOMB = "gzip_bomb"  # size_bytes once inflated
    BAD_CHUNKING = "bad_chunking"
    GLUED_FRAMES = "glued_frames"  # the whole body in one write
    SPLIT_FRAMES = "split_frames"  # split_bytes a write, through frames and UTF-8 sequences
    CRLF_FRAMES = "crlf_frames"
    COMMENTS = "comments"
    DUPLICATE_FINISH = "duplicate_finish"


_UNBILLED = frozenset({FaultKind.STATUS, FaultKind.REDIRECT})


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One fault and its figures. `billed` overrides whether the vendor charges for the call."""

    kind: FaultKind = FaultKind.DELAY
    delay_ms: float = 0
    chunk_delay_ms: float = 0
    headers: dict[str, str] = {}
    status: int = 500
    retry_after: str | None = None
    message: str = "The sandbox was told to fail."
    code: str | None = None
    after_bytes: int | None = None
    after_chunks: int = 2
    split_bytes: int = 1
    size_bytes: int = 64 * 1024 * 1024
    location: str = "http://127.0.0.1:9/v1/chat/completions"
    usage: dict[str, Any] = {}
    content: str | None = None
    billed: bool | None = None

    @property
    def is_billed(self) -> bool:
        return self.kind not in _UNBILLED if self.billed is None else self.billed


class Script(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault and the requests that it befalls: of one model, holding a text, so many times."""

    fault: Fault
    model: str | None = None
    contains: str | None = None
    times: int | None = None

    def matches(self, *, model: str, body: str) -> bool:
        return self.model in {None, model} and (self.contains is None or self.contains in body)


def parse_fault(text: str) -> Fault:
    """Read a fault from JSON, or from its short form: a kind or a status code.

    :raises ValueError: if the text is neither.
    """
    if text.startswith("{"):
        return msgspec.json.decode(text, type=Fault)
    return Fault(kind=FaultKind.STATUS, status=int(text)) if text.isdigit() else Fault(kind=FaultKind(text))


def parse_script(text: str) -> Script:
    """Read a script from JSON; a bare fault, or its short form, befalls every request.

    :raises ValueError: if the text is none of these.
    """
    if not text.startswith("{") or "fault" not in msgspec.json.decode(text):
        return Script(fault=parse_fault(text))
    return msgspec.json.decode(text, type=Script)


class FaultBoard:
    """The scripts in force. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._scripts: list[Script] = []

    def add(self, script: Script) -> None:
        """Put a script in force, behind those that are there."""
        with self._lock:
            self._scripts.append(script)

    def clear(self) -> None:
        with self._lock:
            self._scripts.clear()

    @property
    def scripts(self) -> Sequence[Script]:
        with self._lock:
            return tuple(self._scripts)

    def take(self, *, model: str, body: str) -> Fault | None:
        """Return the fault of the first script that matches, and count it down."""
        with self._lock:
            for position, script in enumerate(self._scripts):
                if script.matches(model=model, body=body):
                    self._count_down(position, script)
                    return script.fault
        return None

    def _count_down(self, position: int, script: Script) -> None:
        if script.times is None:
            return
        if script.times > 1:
            self._scripts[position] = msgspec.structs.replace(script, times=script.times - 1)
        else:
            del self._scripts[position]


def reported_usage(fault: Fault | None, usage: dict[str, Any]) -> dict[str, Any] | None:
    """Return the usage that the vendor reports, which need not be the true one."""
    if fault is None:
        return usage
    if fault.kind is FaultKind.MISSING_USAGE:
        return None
    return {**usage, **fault.usage} if fault.kind is FaultKind.USAGE else usage


def misbehave(fault: Fault, reply: Reply) -> Reply:
    """Return what is sent in place of a good reply."""
    spoilt = _SPOILERS.get(fault.kind, _leave)(fault, reply)
    pieces = spoilt.pieces
    if fault.chunk_delay_ms:
        pieces = [replace(piece, delay_ms=piece.delay_ms + fault.chunk_delay_ms) for piece in pieces]
    return replace(
        spoilt,
        delay_ms=spoilt.delay_ms + fault.delay_ms,
        headers=(*spoilt.headers, *fault.headers.items()),
        pieces=pieces,
    )


def _leave(_fault: Fault, reply: Reply) -> Reply:
    return reply


def _refuse(fault: Fault, _reply: Reply) -> Reply:
    kind = "rate_limit_error" if fault.status == 429 else "server_error"
    body = error_body(message=fault.message, type=kind, code=fault.code)
    headers = () if fault.retry_after is None else (("retry-after", fault.retry_after),)
    return Reply.json(body, status=fault.status, headers=headers)


def _hang(fault: Fault, reply: Reply) -> Reply:
    return _abandon(fault, reply, Ending.HANG)


def _reset(fault: Fault, reply: Reply) -> Reply:
    return _abandon(fault, reply, Ending.RESET)


def _cut(fault: Fault, reply: Reply) -> Reply:
    return _abandon(fault, reply, Ending.CLOSE)


def _abandon(fault: Fault, reply: Reply, ending: Ending) -> Reply:
    if fault.after_bytes is None:
        return replace(reply, pieces=(), sends_head=False, ending=ending)
    pieces = tuple(_take_bytes(reply.pieces, fault.after_bytes))
    return replace(reply, pieces=pieces, declared_bytes=reply.body_bytes, ending=ending)


def _take_bytes(pieces: Sequence[Piece], size: int) -> Iterator[Piece]:
    for piece in pieces:
        yield replace(piece, data=piece.data[:size])
        size -= len(piece.data)
        if size <= 0:
            return


def _break_off(fault: Fault, reply: Reply) -> Reply:
    if not _is_stream(reply):
        return reply
    body = error_body(message=fault.message, type="server_error", code=fault.code)
    event = Piece(data=b"data: " + msgspec.json.encode(body) + b"\n\n")
    return replace(reply, pieces=(*reply.pieces[: fault.after_chunks], event))


def _omit_done(_fault: Fault, reply: Reply) -> Reply:
    return replace(reply, pieces=[piece for piece in reply.pieces if piece.data != _DONE])


def _omit_choices(_fault: Fault, reply: Reply) -> Reply:
    return _rewrite(reply, lambda data: data.replace(b'"choices":', b'"chances":'))


def _garble(_fault: Fault, reply: Reply) -> Reply:
    return _rewrite(reply, lambda data: data if data == _DONE else data.replace(b'":', b'"', 3))


def _answer_html(_fault: Fault, _reply: Reply) -> Reply:
    page = b"<!doctype html><html><body><h1>Welcome to nginx!</h1></body></html>\n"
    return Reply(headers=(("content-type", "text/html; charset=utf-8"),), pieces=(Piece(data=page),))


def _answer_nothing(_fault: Fault, reply: Reply) -> Reply:
    return replace(reply, pieces=(), framing=Framing.LENGTH)


def _mislabel(_fault: Fault, reply: Reply) -> Reply:
    return replace(reply, headers=_with_header(reply, "content-type", "text/plain; charset=utf-8"))


def _redirect(fault: Fault, _reply: Reply) -> Reply:
    return Reply(status=302, headers=(("location", fault.location),))


def _pad(fault: Fault, reply: Reply) -> Reply:
    """Slip white space in front of the last piece, where JSON and SSE both allow it."""
    block = b":" + b" " * 65_533 + b"\n\n" if _is_stream(reply) else b" " * 65_536
    padding = (Piece(data=block),) * (fault.size_bytes // len(block) + 1)
    return replace(reply, pieces=(*reply.pieces[:-1], *padding, reply.pieces[-1]))


def _never_end_the_line(fault: Fault, reply: Reply) -> Reply:
    endless = (Piece(data=_BLOCK),) * (fault.size_bytes // len(_BLOCK) + 1)
    return replace(reply, pieces=(reply.pieces[0], Piece(data=b"data: "), *endless))


def _flood_headers(fault: Fault, reply: Reply) -> Reply:
    flood = tuple((f"x-flood-{number}", "x" * 1_000) for number in range(fault.size_bytes // 1_000 + 1))
    return replace(reply, headers=(*reply.headers, *flood))


def _inflate(fault: Fault, reply: Reply) -> Reply:
    headers = _with_header(reply, "content-encoding", "gzip")
    return replace(reply, headers=headers, pieces=(Piece(data=_bomb(fault.size_bytes)),))


@cache
def _bomb(size_bytes: int) -> bytes:
    return gzip.compress(b" " * size_bytes, compresslevel=9)


def _break_chunking(_fault: Fault, reply: Reply) -> Reply:
    return replace(reply, framing=Framing.BROKEN_CHUNKS, ending=Ending.CLOSE)


def _glue(_fault: Fault, reply: Reply) -> Reply:
    body = b"".join(piece.data for piece in reply.pieces)
    return replace(reply, pieces=(Piece(data=body, output_tokens=_count_tokens(reply.pieces)),))


def _split(fault: Fault, reply: Reply) -> Reply:
    body = b"".join(piece.data for piece in reply.pieces)
    cuts = range(0, len(body), fault.split_bytes)
    return replace(reply, pieces=[Piece(data=body[start : start + fault.split_bytes]) for start in cuts])


def _use_crlf(_fault: Fault, reply: Reply) -> Reply:
    return _rewrite(reply, lambda data: data.replace(b"\n", b"\r\n"))


def _comment(_fault: Fault, reply: Reply) -> Reply:
    if not _is_stream(reply):
        return reply
    return _rewrite(reply, lambda data: b": keep-alive\n\n" + data)


def _finish_twice(_fault: Fault, reply: Reply) -> Reply:
    if not _is_stream(reply):
        return reply
    pieces = [
        again for piece in reply.pieces for again in (piece,) * (1 + (b'"finish_reason":"' in piece.data))
    ]
    return replace(reply, pieces=pieces)


def _is_stream(reply: Reply) -> bool:
    return reply.framing is Framing.CHUNKED


def _rewrite(reply: Reply, change: Callable[[bytes], bytes]) -> Reply:
    return replace(reply, pieces=[replace(piece, data=change(piece.data)) for piece in reply.pieces])


def _with_header(reply: Reply, name: str, value: str) -> tuple[tuple[str, str], ...]:
    return (*(pair for pair in reply.headers if pair[0] != name), (name, value))


def _count_tokens(pieces: Sequence[Piece]) -> int:
    return sum(piece.output_tokens for piece in pieces)


_SPOILERS: dict[FaultKind, Callable[[Fault, Reply], Reply]] = {
    FaultKind.STATUS: _refuse,
    FaultKind.HANG: _hang,
    FaultKind.RESET: _reset,
    FaultKind.CUT: _cut,
    FaultKind.STREAM_ERROR: _break_off,
    FaultKind.MISSING_DONE: _omit_done,
    FaultKind.MISSING_CHOICES: _omit_choices,
    FaultKind.MALFORMED_JSON: _garble,
    FaultKind.HTML: _answer_html,
    FaultKind.EMPTY: _answer_nothing,
    FaultKind.WRONG_CONTENT_TYPE: _mislabel,
    FaultKind.REDIRECT: _redirect,
    FaultKind.OVERSIZED: _pad,
    FaultKind.ENDLESS_LINE: _never_end_the_line,
    FaultKind.HEADER_BOMB: _flood_headers,
    FaultKind.GZIP_BOMB: _inflate,
    FaultKind.BAD_CHUNKING: _break_chunking,
    FaultKind.GLUED_FRAMES: _glue,
    FaultKind.SPLIT_FRAMES: _split,
    FaultKind.CRLF_FRAMES: _use_crlf,
    FaultKind.COMMENTS: _comment,
    FaultKind.DUPLICATE_FINISH: _finish_twice,
}
