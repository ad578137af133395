"""One request, as each format of clients says it: some 2 KB of a support desk with two tools, one of which has been called."""

import json
from collections.abc import Mapping
from typing import Any

Fields = dict[str, Any]

_SYSTEM = (
    "You are the assistant of a parcel service's support desk. Be brief and friendly. Never promise a date that the "
    "tracking does not show, and offer a refund only for parcels that are more than ten days late. If a customer is angry, "
    "say that you are sorry once, and then what you are going to do."
)
_QUESTION = (
    "Hello, my parcel 00340434161094042557 has not arrived; it was promised for last Tuesday. Where is it?"
)
_FOUND = (
    '{"parcel":"00340434161094042557","state":"in_transit","promised":"2026-05-26","events":[{"at":"2026-05-23T08:12:00Z",'
    '"place":"Hamburg"},{"at":"2026-05-27T17:40:00Z","place":"Leipzig"}]}'
)
_TOLD = "It left Leipzig on Wednesday evening and is on its way to you. It is late because of a broken lorry; I am sorry for that."
_NEXT = "That is nine days by now. Please find out whether I can have my money back, and what the depot says."
_CALL_ID = "call_4b7f1c0a9d"
_ARGUMENTS = {"parcel": "00340434161094042557", "with_events": True}
_TOOLS: Mapping[str, tuple[str, Fields]] = {
    "track_parcel": (
        "Where a parcel is, and what happened to it on its way.",
        {
            "type": "object",
            "properties": {
                "parcel": {"type": "string", "description": "Twenty digits."},
                "with_events": {"type": "boolean"},
            },
            "required": ["parcel"],
        },
    ),
    "ask_depot": (
        "Send a question to the depot that has the parcel; it answers within the day.",
        {
            "type": "object",
            "properties": {
                "parcel": {"type": "string"},
                "question": {"type": "string", "maxLength": 500},
                "urgency": {"type": "string", "enum": ["low", "normal", "high"]},
            },
            "required": ["parcel", "question"],
        },
    ),
}


def chat(*, stream: bool) -> bytes:
    """As OpenAI's Chat Completions."""
    call = {"name": "track_parcel", "arguments": json.dumps(_ARGUMENTS)}
    messages = [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": _QUESTION},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": _CALL_ID, "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": _CALL_ID, "content": _FOUND},
        {"role": "assistant", "content": _TOLD},
        {"role": "user", "content": _NEXT},
    ]
    tools = [
        {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
        for name, (about, schema) in _TOOLS.items()
    ]
    own: Fields = {"messages": messages, "tools": tools, "max_tokens": 600, "user": "customer-17"}
    return _body(own | ({"stream_options": {"include_usage": True}} if stream else {}), stream=stream)


def response(*, stream: bool) -> bytes:
    """As OpenAI's Responses."""
    call = {"call_id": _CALL_ID, "name": "track_parcel", "arguments": json.dumps(_ARGUMENTS)}
    said = [
        {"role": "user", "content": _QUESTION},
        {"type": "function_call", **call},
        {"type": "function_call_output", "call_id": _CALL_ID, "output": _FOUND},
        {"role": "assistant", "content": [{"type": "output_text", "text": _TOLD}]},
        {"role": "user", "content": [{"type": "input_text", "text": _NEXT}]},
    ]
    tools = [
        {"type": "function", "name": name, "description": about, "parameters": schema}
        for name, (about, schema) in _TOOLS.items()
    ]
    own: Fields = {"instructions": _SYSTEM, "input": said, "tools": tools, "max_output_tokens": 600}
    return _body(own | {"store": False, "user": "customer-17"}, stream=stream)


def message(*, stream: bool) -> bytes:
    """As Anthropic's Messages."""
    use = {"type": "tool_use", "id": _CALL_ID, "name": "track_parcel", "input": _ARGUMENTS}
    result = {"type": "tool_result", "tool_use_id": _CALL_ID, "content": _FOUND}
    messages = [
        {"role": "user", "content": _QUESTION},
        {"role": "assistant", "content": [use]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [{"type": "text", "text": _TOLD}]},
        {"role": "user", "content": _NEXT},
    ]
    tools = [
        {"name": name, "description": about, "input_schema": schema}
        for name, (about, schema) in _TOOLS.items()
    ]
    own: Fields = {"system": _SYSTEM, "messages": messages, "tools": tools, "max_tokens": 600}
    return _body(own | {"metadata": {"user_id": "customer-17"}}, stream=stream)


def _body(own: Fields, *, stream: bool) -> bytes:
    """The fields of a format, and those that all have, as the clients' libraries send them."""
    fields = {"model": "support-bot", "temperature": 0.3, "top_p": 0.9, **own, "stream": stream}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
