"""A canonical conversation as Gemini has it: the system's words apart, parts for everything, results by the name of their tool."""

import re
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dispatch_app.execution.errors import RequestRejectedError
from dispatch_app.providers.gemini.signatures import NOT_OURS, signature_of_call, signature_of_text

Part = dict[str, Any]

_DATA_URL = re.compile(r"\s*data:(?P<type>image/[^;,]+);base64,(?P<data>.*)", re.DOTALL | re.IGNORECASE)
_MEDIA_TYPES = {
    ".bmp": "image/bmp",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
"""Of pictures, by the ending of their address. Of one that ends otherwise, Google finds out for itself."""
_PROPER_NAMES = {"image/jpg": "image/jpeg"}
"""Of media types that callers give another name, which Google refuses."""
_SYSTEM = frozenset({"system", "developer"})
_decode = msgspec.json.Decoder().decode


def conversation_of(messages: Iterable[Mapping[str, Any]]) -> tuple[list[Part], list[Part]]:
    """The system's parts, and the turns. What one side says in several messages is one turn.

    :raises RequestRejectedError: if a message holds what cannot be said here.
    """
    system: list[Part] = []
    turns: list[Part] = []
    names: dict[str, str] = {}
    for message in messages:
        role = message["role"]
        if role in _SYSTEM:
            system += _content(message)
            continue
        if role == "assistant":
            side, parts = "model", _answer(message, names)
        else:
            side, parts = "user", [_result(message, names)] if role == "tool" else _content(message)
        if turns and turns[-1]["role"] == side:
            turns[-1]["parts"] += parts
        elif parts:
            turns.append({"role": side, "parts": parts})
    return system, turns


def _answer(message: Mapping[str, Any], names: dict[str, str]) -> list[Part]:
    """What the model said and called. `names` remembers which tool each call was of: results only know the call."""
    parts = _content(message)
    if parts and (signature := signature_of_text(message)) is not None:
        parts[-1]["thoughtSignature"] = signature
    for place, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        call_id = call.get("id")
        names[str(call_id)] = name = str(function.get("name"))
        told = _identified({"name": name, "args": _arguments(function.get("arguments"))}, call_id)
        part: Part = {"functionCall": told}
        # Of calls that were made at once, the first has to be signed.
        signature = signature_of_call(message, call) or (NOT_OURS if place == 0 else None)
        if signature is not None:
            part["thoughtSignature"] = signature
        parts.append(part)
    return parts


def _result(message: Mapping[str, Any], names: Mapping[str, str]) -> Part:
    text = "".join([part.get("text", "") for part in _content(message)])
    call_id = message.get("tool_call_id")
    name = names.get(str(call_id), str(message.get("name") or "unknown"))
    return {"functionResponse": _identified({"name": name, "response": _response(text, message)}, call_id)}


def _identified(told: Part, call_id: Any) -> Part:
    """A call with which one it is, or a result with which call it is of: newer models insist on it."""
    if call_id:
        told["id"] = call_id
    return told


def _response(text: str, message: Mapping[str, Any]) -> Any:
    """A result has to be an object; what is none stands in one, under the name that Google's guide gives it."""
    if message.get("is_error"):
        return {"error": text}
    try:
        found = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"result": text}


def _content(message: Mapping[str, Any]) -> list[Part]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"text": content}] if content else []
    return [part for item in content or () if (part := _part(item)) is not None]


def _part(item: Mapping[str, Any]) -> Part | None:
    if item["type"] != "image_url":
        text = item.get("text") or item.get("refusal")
        return {"text": text} if text else None
    url = item["image_url"]["url"]
    if (data := _DATA_URL.match(url)) is not None:
        kind = data["type"].lower()
        return {"inlineData": {"mimeType": _PROPER_NAMES.get(kind, kind), "data": data["data"]}}
    url = url.strip()
    if not url.lower().startswith("https://"):
        raise RequestRejectedError(wire_status=400)
    return {"fileData": {"fileUri": url} | _media_type(url)}


def _media_type(url: str) -> Part:
    try:
        ending = PurePosixPath(urlsplit(url).path).suffix.lower()
    except ValueError as error:
        raise RequestRejectedError(wire_status=400) from error
    return {"mimeType": _MEDIA_TYPES[ending]} if ending in _MEDIA_TYPES else {}


def _arguments(text: Any) -> Any:
    """The arguments of a call as an object. Models now and then write what is none: that is kept under a name."""
    try:
        found = _decode(text or "{}")
    except (msgspec.DecodeError, TypeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"arguments": text}
