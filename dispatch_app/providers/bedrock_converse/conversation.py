"""A canonical conversation as Converse has it: the system's words apart, blocks for everything, turns that take turns."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from dispatch_app.execution.errors import RequestRejectedError

Block = dict[str, Any]

ORIGIN = "bedrock:"
"""What the signatures of this format are told by, wherever they travel."""
_DATA_URL = re.compile(r"\s*data:image/(?P<format>[^;,]+);base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE)
_FORMATS = {"png": "png", "jpeg": "jpeg", "jpg": "jpeg", "gif": "gif", "webp": "webp"}
_SYSTEM = frozenset({"system", "developer"})
_decode = msgspec.json.Decoder().decode
_CACHE_POINT: Block = {"cachePoint": {"type": "default"}}
"""Where a cached prefix ends. It always lasts the vendor's usual time: longer ones have a price of their own."""


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
            side, blocks = "user", _tool_result(message) if role == "tool" else _content(message)
        if turns and turns[-1]["role"] == side:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": side, "content": blocks})
    return system, turns


def marked(block: Block, carrier: Mapping[str, Any]) -> list[Block]:
    """A block and, where its carrier asks for one, the cache point behind it."""
    return [block, _CACHE_POINT] if carrier.get("cache_control") else [block]


def _answer(message: Mapping[str, Any]) -> list[Block]:
    blocks = _content(message)
    if thoughts := message.get("thinking_blocks"):
        blocks = [*_thoughts(thoughts), *blocks]
    for call in message.get("tool_calls") or ():
        blocks += marked(_tool_use(call), call)
    return blocks


def _tool_result(message: Mapping[str, Any]) -> list[Block]:
    """Cache points may stand behind a result, but not within."""
    content = [block for block in _content(message) if block is not _CACHE_POINT]
    result = {"toolUseId": message.get("tool_call_id"), "content": content}
    if message.get("is_error"):
        result["status"] = "error"
    return marked({"toolResult": result}, message)


def _thoughts(thoughts: Iterable[Mapping[str, Any]]) -> Iterator[Block]:
    """What the model thought, if it was one behind Bedrock: the signatures of others mean nothing here."""
    for thought in thoughts:
        seal = thought.get("signature") or thought.get("data") or ""
        if not seal.startswith(ORIGIN):
            continue
        own = seal.removeprefix(ORIGIN)
        if thought["type"] == "redacted_thinking":
            yield {"reasoningContent": {"redactedContent": own}}
        else:
            text = {"text": thought.get("thinking", ""), "signature": own}
            yield {"reasoningContent": {"reasoningText": text}}


def _content(message: Mapping[str, Any]) -> list[Block]:
    """The blocks of a message's content. Blank texts are refused there, and say nothing."""
    content = message.get("content")
    if isinstance(content, str):
        return marked({"text": content}, message) if content.strip() else []
    return [block for part in content or () for block in _part(part)]


def _part(part: Mapping[str, Any]) -> list[Block]:
    if part["type"] == "image_url":
        return marked({"image": _image(part["image_url"]["url"])}, part)
    text = part.get("text") or part.get("refusal") or ""
    return marked({"text": text}, part) if text.strip() else []


def _image(url: str) -> Block:
    data = _DATA_URL.match(url)
    image_format = None if data is None else _FORMATS.get(data["format"].lower())
    if data is None or image_format is None:
        raise RequestRejectedError(wire_status=400)
    return {"format": image_format, "source": {"bytes": data["data"]}}


def _tool_use(call: Mapping[str, Any]) -> Block:
    function = call.get("function") or {}
    told = {
        "toolUseId": call.get("id"),
        "name": function.get("name"),
        "input": _arguments(function.get("arguments")),
    }
    return {"toolUse": told}


def _arguments(text: Any) -> Any:
    """The arguments of a call as an object. Models now and then write what is none: that is kept under a name."""
    try:
        found = _decode(text or "{}")
    except (msgspec.DecodeError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": text}
