"""Anthropic's Messages as clients speak them: what goes out. `anthropic_request` is what comes in."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from dispatch_app.execution.canonical import Choice, ChunkChoice, ClientFormat, Reply, StreamPart
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.anthropic_request import parse_message
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.errors import message_of
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.types import Usage

Block = dict[str, Any]

_STOP_REASONS = {
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_ERROR_TYPE_OF_CODE = {ErrorCode.INSUFFICIENT_QUOTA: "billing_error"}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def render_reply(
    *,
    reply: Reply,
    dispatch_id: str,
    created: int,
    model: str,
    usage: Usage | None,
    details: Any,
    prompt: Prompt,
) -> bytes:
    """See `ClientHalf.render_reply`."""
    (choice, *_) = reply.choices
    body = {
        **_message(dispatch_id, model=model),
        "content": list(_blocks(choice.message)),
        "stop_reason": _stop_reason(choice, has_calls=bool(choice.message.get("tool_calls"))),
        "stop_sequence": choice.matched_stop or None,
        "usage": _usage(usage),
    }
    return _encode(body if details is None else body | {"dispatch": details})


def render_error(error: DispatchError, *, dispatch_id: UUID) -> bytes:
    """The body of an error answer, and the data of an error event."""
    kind = _ERROR_TYPE_OF_CODE.get(error.code) or _ERROR_TYPES.get(error.status, "api_error")
    details = {"type": kind, "message": message_of(error), "code": error.code.value}
    return _encode({"type": "error", "error": details, "request_id": str(dispatch_id)})


class MessageStream:
    """Renders one stream. Blocks come one after the other: what begins a new one ends the one before."""

    def __init__(self, *, dispatch_id: UUID, created: int, prompt: Prompt) -> None:
        self._id = dispatch_id
        self._has_begun = False
        self._open: tuple[str, int] | None = None
        self._next = 0
        self._calls: dict[int, int] = {}
        self._last = ChunkChoice()

    def part(self, part: StreamPart, *, model: str) -> bytes:
        """See `StreamRenderer.part`."""
        return b"".join(self._begin(model)) + b"".join(
            event for step in part.choices[:1] for event in self._step(step)
        )

    def end(self, *, model: str, usage: Usage | None, details: Any, is_verbose: bool) -> bytes:
        """See `StreamRenderer.end`."""
        delta = {
            "stop_reason": _stop_reason(self._last, has_calls=bool(self._calls)),
            "stop_sequence": self._last.matched_stop or None,
        }
        told = {"type": "message_delta", "delta": delta, "usage": _usage(usage), "dispatch": details}
        return b"".join([*self._begin(model), *self._close(), _event(told), _event({"type": "message_stop"})])

    def error(self, error: DispatchError) -> bytes:
        """See `StreamRenderer.error`."""
        return b"event: error\ndata: %b\n\n" % render_error(error, dispatch_id=self._id)

    def _begin(self, model: str) -> Iterator[bytes]:
        """What was used is only known at the end, so that the beginning says nothing of it."""
        if not self._has_begun:
            self._has_begun = True
            message = _message(self._id.hex, model=model) | {
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": _usage(None),
            }
            yield _event({"type": "message_start", "message": message})

    def _step(self, step: ChunkChoice) -> Iterator[bytes]:
        delta = step.delta
        blocks = delta.get("thinking_blocks") or ()
        if (thought := delta.get("reasoning_content")) and not blocks:
            yield from self._think({"thinking": thought})
        for block in blocks:
            yield from self._think(block)
        if text := delta.get("content") or delta.get("refusal"):
            yield from self._enter("text", {"type": "text", "text": ""})
            yield self._delta({"type": "text_delta", "text": text})
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)
        if step.finish_reason is not None:
            self._last = step

    def _think(self, block: Mapping[str, Any]) -> Iterator[bytes]:
        if block.get("data"):
            yield from self._close()
            yield from self._enter("", {"type": "redacted_thinking", "data": block["data"]})
            yield from self._close()
            return
        yield from self._enter("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        if thought := block.get("thinking"):
            yield self._delta({"type": "thinking_delta", "thinking": thought})
        if signature := block.get("signature"):
            yield self._delta({"type": "signature_delta", "signature": signature})
            yield from self._close()

    def _call(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        place, function = call.get("index") or 0, call.get("function") or {}
        if place not in self._calls:
            yield from self._close()
            told: Block = {
                "type": "tool_use",
                "id": call.get("id"),
                "name": function.get("name"),
                "input": {},
            }
            yield from self._enter(f"call {place}", told)
            self._calls[place] = self._next - 1
        if arguments := function.get("arguments"):
            delta = {"type": "input_json_delta", "partial_json": arguments}
            yield _event({"type": "content_block_delta", "index": self._calls[place], "delta": delta})

    def _enter(self, kind: str, block: Block) -> Iterator[bytes]:
        if self._open is not None and self._open[0] == kind:
            return
        yield from self._close()
        self._open = (kind, self._next)
        self._next += 1
        yield _event({"type": "content_block_start", "index": self._open[1], "content_block": block})

    def _close(self) -> Iterator[bytes]:
        if self._open is not None:
            yield _event({"type": "content_block_stop", "index": self._open[1]})
            self._open = None

    def _delta(self, delta: Block) -> bytes:
        return _event({"type": "content_block_delta", "index": self._next - 1, "delta": delta})


def _event(data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), _encode(data))


def _message(dispatch_id: str, *, model: str) -> Block:
    return {"id": f"msg_{dispatch_id}", "type": "message", "role": "assistant", "model": model}


def _blocks(message: Mapping[str, Any]) -> Iterator[Block]:
    thoughts = message.get("thinking_blocks") or ()
    yield from thoughts
    if not thoughts and (thought := message.get("reasoning_content")):
        yield {"type": "thinking", "thinking": thought, "signature": ""}
    if text := message.get("content") or message.get("refusal"):
        yield {"type": "text", "text": text}
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "tool_use",
            "id": call.get("id"),
            "name": function["name"],
            "input": _input(function.get("arguments")),
        }


def _input(arguments: Any) -> Any:
    """The arguments of a call as an object. What a model wrote that is none is kept under a name."""
    try:
        found = _decode(arguments or "{}")
    except (msgspec.DecodeError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": arguments}


def _stop_reason(choice: Choice | ChunkChoice, *, has_calls: bool) -> str:
    if choice.matched_stop:
        return "stop_sequence"
    if has_calls and choice.finish_reason in {None, "stop"}:
        return "tool_use"
    return _STOP_REASONS.get(choice.finish_reason or "", "end_turn")


def _usage(usage: Usage | None) -> Mapping[str, int]:
    """Anthropic counts cached tokens beside the input and what was thought in the output."""
    told = Usage() if usage is None else usage
    return {
        "input_tokens": told.input_tokens,
        "cache_creation_input_tokens": told.cache_write_tokens,
        "cache_read_input_tokens": told.cached_input_tokens,
        "output_tokens": told.output_tokens + told.reasoning_tokens,
    }


ANTHROPIC_MESSAGES = ClientHalf(
    name=ClientFormat.ANTHROPIC_MESSAGES,
    parse=parse_message,
    render_reply=render_reply,
    render_stream=MessageStream,
    render_error=render_error,
    heartbeat=b'event: ping\ndata: {"type":"ping"}\n\n',
    request_id_header=b"request-id",
)
