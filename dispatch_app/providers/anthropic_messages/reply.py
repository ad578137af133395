"""Anthropic's replies in canonical words."""

from typing import Any

import msgspec
from msgspec import UNSET

from dispatch_app.execution.canonical import Choice, Reply
from dispatch_app.execution.errors import InvalidReplyError
from policies_app.routing.types import Usage

MOST_MODEL_NAME = 200
FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}


class ReportedUsage(msgspec.Struct):
    """Tokens as Anthropic counts them. Cached ones stand beside the input; what was thought is inside the output."""

    input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens: int | None = None

    def updated(self, later: "ReportedUsage") -> "ReportedUsage":
        """The counts of a later event, and these where it says nothing."""
        return ReportedUsage(
            **{
                name: mine if (theirs := getattr(later, name)) is None else theirs
                for name, mine in msgspec.structs.asdict(self).items()
            }
        )

    def buckets(self) -> Usage | None:
        """Disjoint buckets, plausible or not; None if that which costs most is not told."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return Usage(
            input_tokens=self.input_tokens,
            cached_input_tokens=self.cache_read_input_tokens or 0,
            cache_write_tokens=self.cache_creation_input_tokens or 0,
            output_tokens=self.output_tokens,
        )


class Block(msgspec.Struct):
    """A block of any kind that a reply may hold."""

    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: Any = None

    def as_thought(self) -> dict[str, Any]:
        """What the model thought, as it has to come back with the next turn."""
        if self.type == "redacted_thinking":
            return {"type": self.type, "data": self.data}
        return {"type": self.type, "thinking": self.thinking, "signature": self.signature}


class _Message(msgspec.Struct):
    content: list[Block]
    model: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: Any = None


THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_decode = msgspec.json.Decoder(_Message).decode
_encode = msgspec.json.Encoder().encode


def parse_reply(body: bytes, *, wire_status: int, first_byte_at: float) -> Reply:
    """See `Adapter.parse_reply`."""
    try:
        message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=wire_status) from error
    reported = read_usage(message.usage)
    choice = Choice(
        message=_canonical(message.content),
        finish_reason=FINISH_REASONS.get(message.stop_reason or "", "stop"),
        matched_stop=message.stop_sequence or UNSET,
    )
    return Reply(
        model=model_name(message.model),
        choices=[choice],
        usage=None if reported is None else reported.buckets(),
        wire_status=wire_status,
        first_byte_at=first_byte_at,
    )


def model_name(name: str) -> str:
    """A name as the log can hold it."""
    return name.replace("\0", "")[:MOST_MODEL_NAME]


def read_usage(raw: Any) -> ReportedUsage | None:
    """What was reported; None when there is nothing that can be read."""
    try:
        return msgspec.convert(raw, ReportedUsage)
    except msgspec.ValidationError:
        return None


def _canonical(blocks: list[Block]) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[Block] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        if block.type == "text":
            texts.append(block.text)
        elif block.type == "tool_use":
            calls.append(_tool_call(block))
        elif block.type in THOUGHTS:
            thoughts.append(block)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if thoughts:
        message["reasoning_content"] = "".join(block.thinking for block in thoughts)
        message["thinking_blocks"] = [block.as_thought() for block in thoughts]
    if calls:
        message["tool_calls"] = calls
    return message


def _tool_call(block: Block) -> dict[str, Any]:
    function = {"name": block.name, "arguments": _encode(block.input or {}).decode()}
    return {"id": block.id, "type": "function", "function": function}
