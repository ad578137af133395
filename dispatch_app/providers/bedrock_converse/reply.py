"""Converse's replies in canonical words."""

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from dispatch_app.execution.canonical import Choice, Reply
from dispatch_app.execution.errors import InvalidReplyError
from dispatch_app.providers.bedrock_converse.conversation import ORIGIN
from policies_app.routing.types import Usage

FINISH_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "content_filtered": "content_filter",
    "guardrail_intervened": "content_filter",
}
MALFORMED = frozenset({"malformed_model_output", "malformed_tool_use"})
"""Stop reasons of replies that are none: what the model wrote could not be read."""


class _ReportedUsage(msgspec.Struct, rename="camel"):
    """Tokens as Bedrock counts them. Cached ones stand beside the input; what was thought is inside the output."""

    input_tokens: int
    output_tokens: int
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str = ""


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str = ""

    def as_thought(self) -> dict[str, Any]:
        """What the model thought, as it has to come back with the next turn."""
        if self.reasoning_text is None:
            return redacted_thought(self.redacted_content)
        signature = self.reasoning_text.signature
        return {
            "type": "thinking",
            "thinking": self.reasoning_text.text,
            "signature": f"{ORIGIN}{signature}" if signature else "",
        }


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    input: Any = None

    def as_call(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": _encode(self.input or {}).decode()}
        return {"id": self.tool_use_id, "type": "function", "function": function}


class _Block(msgspec.Struct, rename="camel"):
    text: str = ""
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _Message(msgspec.Struct):
    content: list[_Block]


class _Output(msgspec.Struct):
    message: _Message


class _Reply(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str
    usage: Any = None
    additional_model_response_fields: Any = None


_decode = msgspec.json.Decoder(_Reply).decode
_encode = msgspec.json.Encoder().encode


def parse_reply(body: bytes, *, wire_status: int, first_byte_at: float) -> Reply:
    """See `Adapter.parse_reply`. Converse does not say which model replied."""
    try:
        reply = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=wire_status) from error
    usage = read_usage(reply.usage)
    if reply.stop_reason in MALFORMED:
        raise InvalidReplyError(wire_status=wire_status, usage=usage)
    choice = Choice(
        message=_canonical(reply.output.message.content),
        finish_reason=FINISH_REASONS.get(reply.stop_reason, "stop"),
        matched_stop=matched_stop(reply.additional_model_response_fields),
    )
    return Reply(
        model="", choices=[choice], usage=usage, wire_status=wire_status, first_byte_at=first_byte_at
    )


def read_usage(raw: Any) -> Usage | None:
    """Disjoint buckets, plausible or not; None when there is nothing that can be read."""
    try:
        reported = msgspec.convert(raw, _ReportedUsage)
    except msgspec.ValidationError:
        return None
    return Usage(
        input_tokens=reported.input_tokens,
        cached_input_tokens=reported.cache_read_input_tokens or 0,
        cache_write_tokens=reported.cache_write_input_tokens or 0,
        output_tokens=reported.output_tokens,
    )


def matched_stop(own_fields: Any) -> str | UnsetType:
    """The stop sequence that ended a reply, where the model's own fields say."""
    match own_fields:
        case {"stop_sequence": str(sequence)} if sequence:
            return sequence
        case _:
            return UNSET


def redacted_thought(data: str) -> dict[str, Any]:
    """A thought that only the vendor can read; `data` is in base 64."""
    return {"type": "redacted_thinking", "data": f"{ORIGIN}{data}"}


def _canonical(blocks: list[_Block]) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[_Reasoning] = []
    calls: list[dict[str, Any]] = []
    for block in blocks:
        if block.text:
            texts.append(block.text)
        if block.reasoning_content is not None:
            thoughts.append(block.reasoning_content)
        if block.tool_use is not None:
            calls.append(block.tool_use.as_call())
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) or None}
    if thoughts:
        told = (thought.reasoning_text for thought in thoughts)
        message["reasoning_content"] = "".join(text.text for text in told if text is not None)
        message["thinking_blocks"] = [thought.as_thought() for thought in thoughts]
    if calls:
        message["tool_calls"] = calls
    return message
