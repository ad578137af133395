"""A vendor that takes no time: ready-made replies for measuring what stands in front of it.

Every reply says the same and reports the same usage; only its model and its id are the request's own.
No faults, no keys, and a count in place of the per-request ledger.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any, cast

import msgspec

from sandbox.completion import Choice, Completion, Usage, render_plain
from sandbox.errors import error_body
from sandbox.fleet import FLEET, VendorModel
from sandbox.logprobs import Certainty
from sandbox.openai_chat import render_events
from sandbox.tokens import split_tokens
from sandbox.vendor import Exchange
from sandbox.wire import HttpRequest, Reply, RequestParser

ANSWER = "All is well, and this took no time at all."
INPUT_TOKENS = 20
OUTPUT_TOKENS = len(split_tokens(ANSWER))

_CHAT = b"POST /v1/chat/completions "
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ID_DIGITS = 12
_BLANK_ID = "chatcmpl-fast" + "#" * _ID_DIGITS
_BLANK = b"#" * _ID_DIGITS


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _FastRequest(msgspec.Struct):
    model: str
    stream: bool = False
    stream_options: _StreamOptions | None = None

    @property
    def form(self) -> tuple[str, bool, bool]:
        options = self.stream_options
        return self.model, self.stream, options is not None and options.include_usage


_DECODER = msgspec.json.Decoder(_FastRequest)


class FastLedger:
    """Counts calls by model; what they cost follows from the counts."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def clear(self) -> None:
        self.calls.clear()

    @property
    def total_nanos(self) -> int:
        """Return the bill."""
        return sum(_cost_nanos(FLEET[name]) * calls for name, calls in self.calls.items())

    def as_wire(self) -> dict[str, Any]:
        calls = dict(self.calls)
        return {
            "requests": sum(calls.values()),
            "total_nanos": self.total_nanos,
            "entries": [],
            "calls": calls,
        }


class FastConnection(asyncio.Protocol):
    """Answers chat requests from templates in the very callback that reads them.

    Anything else goes to `handle` and is answered without its delays.
    """

    def __init__(
        self,
        *,
        ledger: FastLedger,
        handle: Callable[[HttpRequest], Exchange],
        on_lost: Callable[["FastConnection"], None],
    ) -> None:
        self._calls = ledger.calls
        self._handle = handle
        self._on_lost = on_lost
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_lost(self)

    async def stop(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (size := _measure(self._buffer)) is not None and len(self._buffer) >= size:
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self._transport.write(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        if not request.startswith(_CHAT):
            return self._answer_slowly(request)
        try:
            form = _DECODER.decode(request[request.index(b"\r\n\r\n") + 4 :]).form
            template = _TEMPLATES[form]
        except (msgspec.DecodeError, KeyError):
            return _REFUSAL
        self._calls[form[0]] += 1
        return template.replace(_BLANK, b"%012d" % next(_SERIAL))

    def _answer_slowly(self, request: bytes) -> bytes:
        return b"".join(_encode(self._handle(parsed).reply) for parsed in RequestParser().feed(request))


def _measure(buffer: bytes) -> int | None:
    """Return the size of the first request, None while its head is incomplete."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(buffer, 0, end)
    return end + 4 + (int(length[1]) if length else 0)


def _encode(reply: Reply) -> bytes:
    body = b"".join(map(reply.encode_piece, reply.pieces))
    return reply.encode_head() + body + reply.encode_end()


def _cost_nanos(model: VendorModel) -> int:
    return model.price.cost_nanos(input_tokens=INPUT_TOKENS, cached_tokens=0, output_tokens=OUTPUT_TOKENS)


def _build_templates() -> dict[tuple[str, bool, bool], bytes]:
    """Encode every reply that there is, with a blank where the id's digits go."""
    templates = {}
    for model in FLEET.values():
        completion = _answer_as(model)
        usage = completion.usage.as_wire()
        plain = _encode(Reply.json(render_plain(completion, usage=usage)))
        templates[model.name, False, False] = templates[model.name, False, True] = plain
        templates[model.name, True, False] = _encode(render_events(completion, usage=None))
        templates[model.name, True, True] = _encode(render_events(completion, usage=usage))
    return templates


def _answer_as(model: VendorModel) -> Completion:
    tokens = split_tokens(ANSWER)
    return Completion(
        id=_BLANK_ID,
        created_at=1_767_225_600,
        model=model,
        choices=(Choice(index=0, tokens=tokens, certainty=Certainty(confidence=1.0), finish_reason="stop"),),
        usage=Usage(
            prompt_tokens=INPUT_TOKENS,
            cached_tokens=0,
            completion_tokens=OUTPUT_TOKENS,
            reasoning_tokens=0,
        ),
        top_logprobs=None,
    )


_SERIAL = count(1)
_TEMPLATES = _build_templates()
_REFUSAL = _encode(
    Reply.json(
        error_body(message="Not a request for a known model.", type="invalid_request_error"), status=400
    )
)
