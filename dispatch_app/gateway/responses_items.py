"""What a response of OpenAI's Responses consists of, whole or in a stream."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.types import Usage

Item = dict[str, Any]

PREFIXES = {"reasoning": "rs", "message": "msg", "function_call": "fc"}
"""What the ids of items begin with, by the items' types."""
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by the reason for which a model finished."""
_ECHO: Mapping[str, Any] = {
    "error": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
"""What a response says of its request, where the request said nothing."""
_encode = msgspec.json.Encoder().encode


def describe_response(dispatch_id: str, *, created: int, model: str, prompt: Prompt) -> Item:
    """What a response says from its beginning on."""
    return {
        **_ECHO,
        **prompt.echo,
        "id": f"resp_{dispatch_id}",
        "object": "response",
        "created_at": created,
        "model": model,
        "incomplete_details": None,
    }


def describe_ending(finish_reason: str | None, *, output: Sequence[Item], usage: Usage | None) -> Item:
    """What a response says once it is over."""
    reason = INCOMPLETE.get(finish_reason or "")
    return {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": None if usage is None else _usage(usage),
    }


def items_of(message: Mapping[str, Any], *, dispatch_id: str) -> list[Item]:
    """The items that a whole answer comes to."""
    items: list[Item] = []
    thoughts, thought = message.get("thinking_blocks"), message.get("reasoning_content")
    if thoughts or thought:
        summary = [part_of("summary_text", thought)] if thought else []
        items.append(reasoning(item_id("reasoning", dispatch_id, 0), summary, thoughts=thoughts))
    content: list[Item] = []
    if text := message.get("content"):
        content.append(part_of("output_text", text))
    if refusal := message.get("refusal"):
        content.append(part_of("refusal", refusal))
    if content:
        items.append(message_item(item_id("message", dispatch_id, len(items)), content, status="completed"))
    for call in message.get("tool_calls") or ():
        function = call["function"]
        items.append(
            function_call(
                item_id("function_call", dispatch_id, len(items)),
                call_id=call.get("id"),
                name=function["name"],
                arguments=function.get("arguments") or "{}",
                status="completed",
            )
        )
    return items


def item_id(kind: str, dispatch_id: str, place: int) -> str:
    """The id of an item of a kind, at its place among all."""
    return f"{PREFIXES[kind]}_{dispatch_id}_{place}"


def reasoning(own_id: str, summary: list[Item], *, thoughts: Any) -> Item:
    """What a model thought. What has to come back unread goes with it as one opaque text."""
    sealed = b64encode(_encode(thoughts)).decode() if thoughts else None
    return {"id": own_id, "type": "reasoning", "summary": summary, "encrypted_content": sealed}


def message_item(own_id: str, content: list[Item], *, status: str) -> Item:
    """What a model said."""
    return {"id": own_id, "type": "message", "role": "assistant", "status": status, "content": content}


def function_call(own_id: str, *, call_id: Any, name: Any, arguments: str, status: str) -> Item:
    """A call of a tool."""
    return {
        "id": own_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def part_of(kind: str, text: str) -> Item:
    """A part of an item: something said, a refusal, or the summary of a thought."""
    if kind == "output_text":
        return {"type": kind, "text": text, "annotations": [], "logprobs": []}
    return {"type": kind, "refusal" if kind == "refusal" else "text": text}


def _usage(usage: Usage) -> Item:
    """As in Chat Completions, cached tokens are in the input's count and what was thought is in the output's."""
    input_tokens = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
    output_tokens = usage.output_tokens + usage.reasoning_tokens
    return {
        "input_tokens": input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": input_tokens + output_tokens,
    }
