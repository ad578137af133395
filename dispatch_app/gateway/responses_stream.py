"""OpenAI's Responses as a stream: an event for each step of each item, in the order that its clients hold it to."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from dispatch_app.execution.assembly import assemble
from dispatch_app.execution.canonical import ChunkChoice, StreamPart
from dispatch_app.execution.errors import DispatchError
from dispatch_app.gateway.errors import message_of
from dispatch_app.gateway.prompt import Prompt
from dispatch_app.gateway.responses_items import (
    INCOMPLETE,
    Item,
    describe_ending,
    describe_response,
    function_call,
    item_id,
    message_item,
    part_of,
    reasoning,
)
from policies_app.routing.types import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """How a kind of part is told: in which items, under which events' names, and where it stands."""

    item: str
    text: str
    part: str
    index: str
    holds: str = "text"
    beside: Mapping[str, Any] = field(default_factory=dict)


_SHAPES = {
    "summary_text": _Shape(
        item="reasoning",
        text="response.reasoning_summary_text",
        part="response.reasoning_summary_part",
        index="summary_index",
    ),
    "output_text": _Shape(
        item="message",
        text="response.output_text",
        part="response.content_part",
        index="content_index",
        beside={"logprobs": []},
    ),
    "refusal": _Shape(
        item="message",
        text="response.refusal",
        part="response.content_part",
        index="content_index",
        holds="refusal",
    ),
}
_SAID = {"summary_text": "reasoning_content", "output_text": "content", "refusal": "refusal"}
"""In which field of a step each kind of part comes."""
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True, kw_only=True)
class _Opened:
    """The item that a stream is at. `parts` are those that ended; `part` is the kind of the one that has not, with its `text`."""

    id: str
    kind: str
    call_id: Any = None
    name: Any = None
    parts: list[Item] = field(default_factory=list)
    part: str = ""
    text: str = ""
    thoughts: list[ChunkChoice] = field(default_factory=list)

    def as_item(self, status: str) -> Item:
        """The item as far as it has come."""
        match self.kind:
            case "message":
                return message_item(self.id, [*self.parts], status=status)
            case "reasoning":
                return reasoning(self.id, [*self.parts], thoughts=self._thoughts())
            case _:
                arguments = "" if status == "in_progress" else self.text or "{}"
                return function_call(
                    self.id, call_id=self.call_id, name=self.name, arguments=arguments, status=status
                )

    def _thoughts(self) -> Any:
        steps = [StreamPart(model="", choices=[step], usage=None) for step in self.thoughts]
        whole = assemble(steps, wire_status=200, first_byte_at=0.0)
        return whole.choices[0].message["thinking_blocks"] if whole.choices else None


class ResponseStream:
    """Renders one stream. Items come one after the other: what begins a new one ends the one before."""

    def __init__(self, *, dispatch_id: UUID, created: int, prompt: Prompt) -> None:
        self._id = dispatch_id.hex
        self._created = created
        self._prompt = prompt
        self._number = 0
        self._opened: _Opened | None = None
        self._done: list[Item] = []
        self._calls: set[int] = set()
        self._finish_reason: str | None = None

    def part(self, part: StreamPart, *, model: str) -> bytes:
        """See `StreamRenderer.part`."""
        begun = b"".join(self._begin(model))
        return begun + b"".join(event for step in part.choices[:1] for event in self._step(step))

    def end(self, *, model: str, usage: Usage | None, details: Any, is_verbose: bool) -> bytes:
        """See `StreamRenderer.end`."""
        begun = b"".join(self._begin(model))
        closed = b"".join(self._close("incomplete" if self._finish_reason in INCOMPLETE else "completed"))
        ending = describe_ending(self._finish_reason, output=self._done, usage=usage)
        response = self._describe(model) | ending | {"dispatch": details}
        return begun + closed + self._event(f"response.{response['status']}", response=response)

    def error(self, error: DispatchError) -> bytes:
        """See `StreamRenderer.error`."""
        return self._event("error", code=error.code.value, message=message_of(error), param=None)

    def _begin(self, model: str) -> Iterator[bytes]:
        if self._number == 0:
            response = self._describe(model) | {"status": "in_progress", "output": [], "usage": None}
            yield self._event("response.created", response=response)
            yield self._event("response.in_progress", response=response)

    def _describe(self, model: str) -> Item:
        return describe_response(self._id, created=self._created, model=model, prompt=self._prompt)

    def _step(self, step: ChunkChoice) -> Iterator[bytes]:
        delta = step.delta
        self._finish_reason = step.finish_reason or self._finish_reason
        if thoughts := delta.get("thinking_blocks"):
            opened = yield from self._enter("reasoning")
            opened.thoughts.append(ChunkChoice(delta={"thinking_blocks": thoughts}))
        for kind, name in _SAID.items():
            if text := delta.get(name):
                yield from self._say(kind, text)
        for call in delta.get("tool_calls") or ():
            yield from self._call(call)

    def _say(self, kind: str, text: str) -> Iterator[bytes]:
        shape = _SHAPES[kind]
        opened = yield from self._enter(shape.item)
        if opened.part != kind:
            yield from self._close_part(opened)
            opened.part = kind
            place = {shape.index: len(opened.parts)}
            yield self._of(opened, f"{shape.part}.added", part=part_of(kind, ""), **place)
        opened.text += text
        place = {shape.index: len(opened.parts)}
        yield self._of(opened, f"{shape.text}.delta", delta=text, **place, **shape.beside)

    def _call(self, call: Mapping[str, Any]) -> Iterator[bytes]:
        place, function = call.get("index") or 0, call.get("function") or {}
        if place not in self._calls:
            self._calls.add(place)
            yield from self._close()
            yield from self._enter("function_call", call_id=call.get("id"), name=function.get("name"))
        if (arguments := function.get("arguments")) and self._opened is not None:
            self._opened.text += arguments
            yield self._of(self._opened, "response.function_call_arguments.delta", delta=arguments)

    def _enter(self, kind: str, *, call_id: Any = None, name: Any = None) -> Generator[bytes, None, _Opened]:
        """Be at an item of a kind: the one that is open, or a new one."""
        if self._opened is not None and self._opened.kind == kind:
            return self._opened
        yield from self._close()
        opened = _Opened(id=item_id(kind, self._id, len(self._done)), kind=kind, call_id=call_id, name=name)
        self._opened = opened
        yield self._event(
            "response.output_item.added",
            output_index=len(self._done),
            item=opened.as_item("in_progress"),
        )
        return opened

    def _close(self, status: str = "completed") -> Iterator[bytes]:
        """End the item that is open, if any."""
        opened = self._opened
        if opened is None:
            return
        yield from self._close_part(opened)
        if opened.kind == "function_call":
            arguments = opened.text or "{}"
            yield self._of(opened, "response.function_call_arguments.done", arguments=arguments)
        item = opened.as_item(status)
        yield self._event("response.output_item.done", output_index=len(self._done), item=item)
        self._done.append(item)
        self._opened = None

    def _close_part(self, opened: _Opened) -> Iterator[bytes]:
        if not opened.part:
            return
        shape, part = _SHAPES[opened.part], part_of(opened.part, opened.text)
        place = {shape.index: len(opened.parts)}
        yield self._of(opened, f"{shape.text}.done", **{shape.holds: opened.text}, **place, **shape.beside)
        yield self._of(opened, f"{shape.part}.done", part=part, **place)
        opened.parts.append(part)
        opened.part = opened.text = ""

    def _of(self, opened: _Opened, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=opened.id, output_index=len(self._done), **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        event = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(event))
