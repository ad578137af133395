"""OpenAI's Responses as clients speak them: what goes out. `responses_request` is what comes in."""

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import msgspec

from dispatch_app.execution.assembly import assemble
from dispatch_app.execution.canonical import Choice, ChunkChoice, ClientFormat, Reply, StreamPart
from dispatch_app.execution.errors import DispatchError
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.errors import message_of, render_error
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.gateway.responses_request import parse_response
from policies_app.routing.types import Usage

Item = dict[str, Any]

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
_ECHO: Mapping[str, Any] = {
    "error": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": False,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
}
"""What a response says of its request, where the request said nothing."""
_encode = msgspec.json.Encoder().encode


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
    response = _response(dispatch_id, created=created, model=model, prompt=prompt)
    response |= _ending(choice, dispatch_id, usage)
    return _encode(response if details is None else response | {"dispatch": details})


class ResponseStream:
    """Renders one stream. Items come one after the other: what begins a new one ends the one before."""

    def __init__(self, *, dispatch_id: UUID, created: int, prompt: Prompt) -> None:
        self._id = dispatch_id.hex
        self._created = created
        self._prompt = prompt
        self._number = 0
        self._has_begun = False
        self._open: Item | None = None
        self._done: list[Item] = []
        self._parts: list[StreamPart] = []
        self._calls: set[int] = set()

    def part(self, part: StreamPart, *, model: str) -> bytes:
        """See `StreamRenderer.part`."""
        steps = part.choices[:1]
        self._parts.append(StreamPart(model=part.model, choices=steps, usage=None))
        said = [event for step in steps for event in self._step(step)]
        return b"".join([*self._begin(model), *said])

    def end(self, *, model: str, usage: Usage | None, details: Any, is_verbose: bool) -> bytes:
        """See `StreamRenderer.end`."""
        begun = list(self._begin(model))
        closed = list(self._close())
        whole = assemble(self._parts, wire_status=200, first_byte_at=0.0)
        choice = whole.choices[0] if whole.choices else Choice(message={}, finish_reason="stop")
        response = self._snapshot(model) | _ending(choice, self._id, usage) | {"dispatch": details}
        last = self._event(f"response.{response['status']}", response=response)
        return b"".join([*begun, *closed, last])

    def error(self, error: DispatchError) -> bytes:
        """See `StreamRenderer.error`."""
        return self._event("error", code=error.code.value, message=message_of(error), param=None)

    def _begin(self, model: str) -> Iterator[bytes]:
        if not self._has_begun:
            self._has_begun = True
            response = self._snapshot(model) | {"status": "in_progress", "output": [], "usage": None}
            yield self._event("response.created", response=response)
            yield self._event("response.in_progress", response=response)

    def _snapshot(self, model: str) -> Item:
        return _response(self._id, created=self._created, model=model, prompt=self._prompt)

    def _step(self, step: ChunkChoice) -> Iterator[bytes]:
        delta = step.delta
        if thought := delta.get("reasoning_content"):
            yield from self._enter("reasoning")
            yield self._delta("response.reasoning_summary_text.delta", thought, summary_index=0)
        if text := delta.get("content"):
            yield from self._enter("message")
            yield self._delta("response.output_text.delta", text, content_index=0, logprobs=[])
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)

    def _call(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        place, function = call.get("index") or 0, call.get("function") or {}
        if place not in self._calls:
            self._calls.add(place)
            yield from self._close()
            yield from self._enter("function_call", call_id=call.get("id"), name=function.get("name"))
        if arguments := function.get("arguments"):
            yield self._delta("response.function_call_arguments.delta", arguments)

    def _enter(self, kind: str, **fields: Any) -> Iterator[bytes]:
        if self._open is not None and self._open["type"] == kind:
            return
        yield from self._close()
        self._open = {"type": kind, "text": "", **fields}
        yield self._event("response.output_item.added", item=self._item(self._open, status="in_progress"))
        if kind == "message":
            yield self._of_item("response.content_part.added", content_index=0, part=_text_part(""))
        elif kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            yield self._of_item("response.reasoning_summary_part.added", summary_index=0, part=part)

    def _close(self) -> Iterator[bytes]:
        if self._open is None:
            return
        text = self._open["text"]
        match self._open["type"]:
            case "message":
                yield self._of_item("response.output_text.done", content_index=0, text=text, logprobs=[])
                yield self._of_item("response.content_part.done", content_index=0, part=_text_part(text))
            case "reasoning":
                part = {"type": "summary_text", "text": text}
                yield self._of_item("response.reasoning_summary_text.done", summary_index=0, text=text)
                yield self._of_item("response.reasoning_summary_part.done", summary_index=0, part=part)
            case _:
                done = {"arguments": text or "{}", "name": self._open["name"]}
                yield self._of_item("response.function_call_arguments.done", **done)
        item = self._item(self._open, status="completed")
        yield self._event("response.output_item.done", item=item)
        self._done.append(item)
        self._open = None

    def _item(self, opened: Item, *, status: str) -> Item:
        item_id = f"{_PREFIXES[opened['type']]}_{self._id}_{len(self._done)}"
        text = opened["text"]
        match opened["type"]:
            case "message":
                content = [_text_part(text)] if status == "completed" else []
                return {
                    "id": item_id,
                    "type": "message",
                    "role": "assistant",
                    "status": status,
                    "content": content,
                }
            case "reasoning":
                summary = [{"type": "summary_text", "text": text}] if status == "completed" else []
                return {"id": item_id, "type": "reasoning", "summary": summary}
            case _:
                arguments = (text or "{}") if status == "completed" else ""
                called = {"call_id": opened["call_id"], "name": opened["name"], "arguments": arguments}
                return {"id": item_id, "type": "function_call", "status": status, **called}

    def _delta(self, kind: str, delta: str, **fields: Any) -> bytes:
        if self._open is not None:
            self._open["text"] += delta
        return self._of_item(kind, delta=delta, **fields)

    def _of_item(self, kind: str, **fields: Any) -> bytes:
        opened = self._open or {"type": "message"}
        item_id = f"{_PREFIXES[opened['type']]}_{self._id}_{len(self._done)}"
        return self._event(kind, item_id=item_id, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        if kind.startswith(_OF_OUTPUT):
            fields["output_index"] = len(self._done)
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event))


_PREFIXES = {"reasoning": "rs", "message": "msg", "function_call": "fc"}
_OF_OUTPUT = (
    "response.output_item", "response.content_part", "response.output_text", "response.reasoning",
    "response.function_call",
)  # fmt: skip


def _response(dispatch_id: str, *, created: int, model: str, prompt: Prompt) -> Item:
    identity = {
        "id": f"resp_{dispatch_id}",
        "object": "response",
        "created_at": created,
        "model": model,
        "incomplete_details": None,
    }
    return {**_ECHO, **{name: value for name, value in prompt.echo.items() if value is not None}, **identity}


def _ending(choice: Choice, dispatch_id: str, usage: Usage | None) -> Item:
    """What a response says once it is over."""
    reason = _INCOMPLETE.get(choice.finish_reason or "")
    return {
        "status": "incomplete" if reason else "completed",
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [
            {"id": f"{_PREFIXES[item['type']]}_{dispatch_id}_{place}", **item}
            for place, item in enumerate(_items(choice.message))
        ],
        "usage": None if usage is None else _usage(usage),
    }


def _items(message: Mapping[str, Any]) -> Iterator[Item]:
    thoughts, thought = message.get("thinking_blocks"), message.get("reasoning_content")
    if thoughts or thought:
        yield {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": thought}] if thought else [],
            "encrypted_content": b64encode(_encode(thoughts)).decode() if thoughts else None,
        }
    content = [_text_part(message["content"])] if message.get("content") else []
    if message.get("refusal"):
        content.append({"type": "refusal", "refusal": message["refusal"]})
    if content:
        yield {"type": "message", "role": "assistant", "status": "completed", "content": content}
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield {
            "type": "function_call",
            "status": "completed",
            "call_id": call.get("id"),
            "name": function["name"],
            "arguments": function.get("arguments") or "{}",
        }


def _text_part(text: str) -> Item:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


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


def _render_error(error: DispatchError, *, dispatch_id: UUID) -> bytes:
    """OpenAI tells the id of a request in a header only."""
    return render_error(error)


OPENAI_RESPONSES = ClientHalf(
    name=ClientFormat.OPENAI_RESPONSES,
    parse=parse_response,
    render_reply=render_reply,
    render_stream=ResponseStream,
    render_error=_render_error,
    heartbeat=b": still at it\n\n",
    request_id_header=b"x-request-id",
)
