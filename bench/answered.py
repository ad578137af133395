"""One reply, as each format of vendors says it, whole and as the events of a stream: some 2 KB of text and two calls of tools."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sandbox.event_stream import encode_event

Fields = dict[str, Any]

_MODEL = "sandbox-large"
TEXT = (
    "I have looked at your parcel again: it was scanned in Leipzig on Wednesday evening and has not been seen since. A refund is "
    "possible from the tenth day on, which is tomorrow. I shall ask the depot now, and have the tracking checked once more. "
) * 6
_CALLS = (
    ("call_91ac03f2", "ask_depot", {"parcel": "00340434161094042557", "question": "Where is it?", "urgency": "high"}),
    ("call_91ac03f3", "track_parcel", {"parcel": "00340434161094042557", "with_events": False}),
)  # fmt: skip
_PROMPT, _CACHED, _WRITTEN = 520, 384, 431


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A reply's body, and the same as a stream: the bytes of each of its events."""

    reply: bytes
    events: Sequence[bytes]


def openai() -> Answered:
    """As OpenAI's Chat Completions."""
    head: Fields = {"id": "chatcmpl-91ac", "created": 1780000000, "model": _MODEL}
    calls = [
        {
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": _json(arguments).decode()},
        }
        for call_id, name, arguments in _CALLS
    ]
    message = {"role": "assistant", "content": TEXT, "refusal": None, "tool_calls": calls}
    usage = {
        "prompt_tokens": _PROMPT,
        "completion_tokens": _WRITTEN,
        "total_tokens": _PROMPT + _WRITTEN,
        "prompt_tokens_details": {"cached_tokens": _CACHED, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def chunk(delta: Fields, finish_reason: str | None = None) -> Fields:
        step = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**head, "object": "chat.completion.chunk", "choices": [step], "usage": None}

    chunks = [chunk({"role": "assistant", "content": ""})]
    chunks += [chunk({"content": words}) for words in _steps(TEXT)]
    for place, (call_id, name, arguments) in enumerate(_CALLS):
        begun = {
            "index": place,
            "id": call_id,
            "type": "function",
            "function": {"name": name, "arguments": ""},
        }
        chunks.append(chunk({"tool_calls": [begun]}))
        for more in _steps(_json(arguments).decode()):
            chunks.append(chunk({"tool_calls": [{"index": place, "function": {"arguments": more}}]}))
    chunks.append(chunk({}, "tool_calls"))
    chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return Answered(reply=_json(whole), events=[*map(_event, chunks), b"data: [DONE]\n\n"])


def anthropic() -> Answered:
    """As Anthropic's Messages."""
    usage = {
        "input_tokens": _PROMPT - _CACHED,
        "cache_read_input_tokens": _CACHED,
        "cache_creation_input_tokens": 0,
        "output_tokens": _WRITTEN,
    }
    head: Fields = {"id": "msg_91ac", "type": "message", "role": "assistant", "model": _MODEL}
    uses = [
        {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        for call_id, name, arguments in _CALLS
    ]
    ended = {"stop_reason": "tool_use", "stop_sequence": None}
    whole = {**head, "content": [{"type": "text", "text": TEXT}, *uses], **ended, "usage": usage}
    begun = {
        **head,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    events: list[Fields] = [{"type": "message_start", "message": begun}]
    blocks: list[tuple[Fields, list[Fields]]] = [
        ({"type": "text", "text": ""}, [{"type": "text_delta", "text": words} for words in _steps(TEXT)])
    ]
    for use in uses:
        steps = _steps(_json(use["input"]).decode())
        blocks.append(
            ({**use, "input": {}}, [{"type": "input_json_delta", "partial_json": more} for more in steps])
        )
    for index, (block, deltas) in enumerate(blocks):
        events.append({"type": "content_block_start", "index": index, "content_block": block})
        events += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"type": "content_block_stop", "index": index})
    events += [{"type": "message_delta", "delta": ended, "usage": usage}, {"type": "message_stop"}]
    return Answered(
        reply=_json(whole),
        events=[b"event: %b\n%b" % (told["type"].encode(), _event(told)) for told in events],
    )


def gemini() -> Answered:
    """As Gemini's generateContent; calls come in one piece."""
    usage = {
        "promptTokenCount": _PROMPT,
        "cachedContentTokenCount": _CACHED,
        "candidatesTokenCount": _WRITTEN,
        "totalTokenCount": _PROMPT + _WRITTEN,
    }

    def response(parts: list[Fields], finish_reason: str | None = None) -> Fields:
        candidate: Fields = {"content": {"parts": parts, "role": "model"}, "index": 0}
        if finish_reason is not None:
            candidate["finishReason"] = finish_reason
        return {
            "candidates": [candidate],
            "usageMetadata": usage,
            "modelVersion": _MODEL,
            "responseId": "91ac",
        }

    calls = [{"functionCall": {"name": name, "args": arguments}} for _, name, arguments in _CALLS]
    whole = response([{"text": TEXT}, *calls], "STOP")
    pieces = [response([{"text": words}]) for words in _steps(TEXT)]
    pieces += [response([call]) for call in calls]
    pieces.append(response([{"text": ""}], "STOP"))
    return Answered(
        reply=_json(whole), events=[_event(piece).replace(b"\n\n", b"\r\n\r\n") for piece in pieces]
    )


def bedrock() -> Answered:
    """As Bedrock's Converse and ConverseStream."""
    usage = {
        "inputTokens": _PROMPT - _CACHED,
        "outputTokens": _WRITTEN,
        "totalTokens": _PROMPT + _WRITTEN,
        "cacheReadInputTokens": _CACHED,
    }
    uses = [{"toolUseId": call_id, "name": name} for call_id, name, _ in _CALLS]
    inputs = [arguments for _, _, arguments in _CALLS]
    content = [
        {"text": TEXT},
        *({"toolUse": use | {"input": given}} for use, given in zip(uses, inputs, strict=True)),
    ]
    whole = {
        "metrics": {"latencyMs": 812},
        "output": {"message": {"content": content, "role": "assistant"}},
        "stopReason": "tool_use",
        "usage": usage,
    }

    def delta(index: int, told: Fields) -> tuple[str, Fields]:
        return "contentBlockDelta", {"contentBlockIndex": index, "delta": told, "p": "abcdefghij"}

    events: list[tuple[str, Fields]] = [("messageStart", {"role": "assistant"})]
    events += [delta(0, {"text": words}) for words in _steps(TEXT)]
    events.append(("contentBlockStop", {"contentBlockIndex": 0}))
    for index, (use, given) in enumerate(zip(uses, inputs, strict=True), 1):
        events.append(("contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": use}}))
        events += [delta(index, {"toolUse": {"input": more}}) for more in _steps(_json(given).decode())]
        events.append(("contentBlockStop", {"contentBlockIndex": index}))
    events += [
        ("messageStop", {"stopReason": "tool_use"}),
        ("metadata", {"usage": usage, "metrics": {"latencyMs": 812}}),
    ]
    return Answered(reply=_json(whole), events=[encode_event(kind, _json(told)) for kind, told in events])


def _steps(text: str) -> list[str]:
    """A text as models stream it: a word or so at a time."""
    words = text.split(" ")
    return [f"{word} " for word in words[:-1]] + words[-1:] * bool(words[-1])


def _event(told: Fields) -> bytes:
    return b"data: %b\n\n" % _json(told)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
