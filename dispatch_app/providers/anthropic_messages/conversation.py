"""A canonical conversation as Anthropic has it: the system's words apart, blocks for everything, turns that take turns."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dispatch_app.execution.errors import RequestRejectedError

Block = dict[str, Any]

_DATA_URL = re.compile(r"\s*data:(?P<type>image/[^;,]+);base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE)
_FOREIGN_ORIGIN = re.compile(r"(gemini|bedrock):")
_PROPER_NAMES = {"image/jpg": "image/jpeg"}
"""Of media types that callers give another name, which Anthropic refuses."""
_SYSTEM = frozenset({"system", "developer"})
_decode = msgspec.json.Decoder().decode


def conversation_of(messages: Iterable[Mapping[str, Any]]) -> tuple[list[Block], list[Block]]:
    """The system's blocks, and the turns. What one side says in several messages is one turn.

    :raises RequestRejectedError: if a message holds what cannot be said here.
    """
    system: list[Block] = []
    turns: list[Block] = []
    for message in messages:
        role = message["role"]
        if role in _SYSTEM:
            system += _content(message)
            continue
        if role == "assistant":
            side, blocks = role, _answer(message)
        else:
            side, blocks = "user", [_tool_result(message)] if role == "tool" else _content(message)
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": side, "content": blocks})
    return system, turns


def _answer(message: Mapping[str, Any]) -> list[Block]:
    blocks = _content(message)
    if thoughts := message.get("thinking_blocks"):
        blocks = [*_thoughts(thoughts), *blocks]
    if calls := message.get("tool_calls"):
        blocks += [_tool_use(call) for call in calls]
    return blocks


def _tool_result(message: Mapping[str, Any]) -> Block:
    result = {
        "type": "tool_result",
        "tool_use_id": message.get("tool_call_id"),
        "content": _content(message),
    }
    if message.get("is_error"):
        result["is_error"] = True
    return _marked(result, message)


def _thoughts(thoughts: Iterable[Mapping[str, Any]]) -> list[Block]:
    """What the model thought, if it was one of Anthropic's: the signatures of others mean nothing here."""
    return [
        {name: value for name, value in block.items() if name != "index"}
        for block in thoughts
        if (seal := block.get("signature") or block.get("data")) and not _FOREIGN_ORIGIN.match(seal)
    ]


def _content(message: Mapping[str, Any]) -> list[Block]:
    """The blocks of a message's content. Empty texts are refused there, and say nothing."""
    content = message.get("content")
    if isinstance(content, str):
        return [_marked({"type": "text", "text": content}, message)] if content else []
    return [block for part in content or () if (block := _part(part)) is not None]


def _part(part: Mapping[str, Any]) -> Block | None:
    if part["type"] == "image_url":
        return _marked({"type": "image", "source": _image_source(part["image_url"]["url"])}, part)
    text = part.get("text") or part.get("refusal")
    return _marked({"type": "text", "text": text}, part) if text else None


def _image_source(url: str) -> Block:
    data = _DATA_URL.match(url)
    if data is not None:
        kind = data["type"].lower()
        return {"type": "base64", "media_type": _PROPER_NAMES.get(kind, kind), "data": data["data"]}
    if url.lstrip()[:5].lower() == "data:":
        raise RequestRejectedError(wire_status=400)
    return {"type": "url", "url": url.strip()}


def _tool_use(call: Mapping[str, Any]) -> Block:
    function = call.get("function") or {}
    told = {
        "type": "tool_use",
        "id": call.get("id"),
        "name": function.get("name"),
        "input": _arguments(function.get("arguments")),
    }
    return _marked(told, call)


def _arguments(text: Any) -> Any:
    """The arguments of a call as an object. Models now and then write what is none: that is kept under a name."""
    try:
        found = _decode(text or "{}")
    except (msgspec.DecodeError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": text}


def _marked(block: Block, carrier: Mapping[str, Any]) -> Block:
    """A block, with the mark that a cached prefix ends there if its carrier has one.

    A prefix always lasts the vendor's usual time: longer ones have a price of their own.
    """
    if carrier.get("cache_control"):
        block["cache_control"] = {"type": "ephemeral"}
    return block
