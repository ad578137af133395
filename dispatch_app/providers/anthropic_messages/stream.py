"""Anthropic's streams in canonical parts."""

from collections.abc import Iterator
from typing import Any

import msgspec

from dispatch_app.execution.canonical import ChunkChoice, StreamPart
from dispatch_app.execution.errors import InvalidReplyError, StreamFailedError
from dispatch_app.providers.adapter import StreamDecoder, StreamEnd
from dispatch_app.providers.anthropic_messages.reply import (
    FINISH_REASONS,
    THOUGHTS,
    Block,
    ReportedUsage,
    model_name,
    read_usage,
)
from dispatch_app.providers.sse import Event, EventDecoder
from policies_app.routing.types import Usage


class _Message(msgspec.Struct):
    model: str = ""
    usage: Any = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    stop_reason: str | None = None
    stop_sequence: str | None = None


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    message: _Message | None = None
    content_block: Block | None = None
    delta: _Delta | None = None
    usage: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_END = StreamEnd()


def stream_decoder() -> StreamDecoder:
    """See `Adapter.stream_decoder`."""
    return _StreamDecoder()


class _StreamDecoder:
    """Implements `StreamDecoder`. Blocks are counted by Anthropic as one sequence; here each kind has a sequence of its own."""

    def __init__(self) -> None:
        self._events = EventDecoder()
        self._model = ""
        self._usage = ReportedUsage()
        self._places: dict[int, int] = {}
        self._calls = 0
        self._thoughts = 0
        self._without_arguments: set[int] = set()

    def feed(self, data: bytes) -> Iterator[StreamPart | StreamEnd]:
        """See `StreamDecoder.feed`."""
        for event in self._events.feed(data):
            if (part := self._take(event)) is not None:
                yield part

    def close(self) -> Iterator[StreamPart | StreamEnd]:
        """See `StreamDecoder.close`."""
        for event in self._events.close():
            if (part := self._take(event)) is not None:
                yield part

    def _take(self, raw: Event) -> StreamPart | StreamEnd | None:
        event = _read(raw)
        match event.type:
            case "message_start":
                return self._begin(event.message or _Message())
            case "message_delta":
                return self._finish(event)
            case "message_stop":
                return _END
            case "error":
                # What the beginning reported is not what it came to.
                raise StreamFailedError(wire_status=200)
            case _:
                return self._take_of_block(event)

    def _take_of_block(self, event: _Event) -> StreamPart | None:
        """Events of other kinds, such as `ping`, say nothing."""
        match event.type:
            case "content_block_start":
                return self._begin_block(event.index, event.content_block)
            case "content_block_delta":
                return self._continue_block(event.index, event.delta or _Delta())
            case "content_block_stop":
                return self._end_block(event.index)
            case _:
                return None

    def _begin(self, message: _Message) -> StreamPart:
        self._model = model_name(message.model)
        self._usage = read_usage(message.usage) or self._usage
        return self._part({"role": "assistant", "content": ""})

    def _begin_block(self, index: int, block: Block | None) -> StreamPart | None:
        if block is None:
            raise InvalidReplyError(wire_status=200)
        if block.type == "tool_use":
            return self._begin_call(index, block)
        if block.type in THOUGHTS:
            self._places[index] = self._thoughts
            self._thoughts += 1
            seal = {"data": block.data} if block.data else {}
            return self._thought(index, {"type": block.type, **seal})
        return self._part({"content": block.text}) if block.text else None

    def _begin_call(self, index: int, block: Block) -> StreamPart:
        self._places[index] = self._calls
        self._calls += 1
        self._without_arguments.add(index)
        call = {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": ""}}
        return self._call(index, call)

    def _continue_block(self, index: int, delta: _Delta) -> StreamPart | None:
        match delta.type:
            case "text_delta":
                return self._part({"content": delta.text})
            case "input_json_delta" if delta.partial_json:
                self._without_arguments.discard(index)
                return self._call(index, {"function": {"arguments": delta.partial_json}})
            case "thinking_delta":
                return self._thought(index, {"thinking": delta.thinking}, text=delta.thinking)
            case "signature_delta":
                return self._thought(index, {"signature": delta.signature})
            case _:
                return None

    def _end_block(self, index: int) -> StreamPart | None:
        """A call without arguments comes without a word of them; where calls are OpenAI's, it has an empty object."""
        if index not in self._without_arguments:
            return None
        self._without_arguments.discard(index)
        return self._call(index, {"function": {"arguments": "{}"}})

    def _finish(self, event: _Event) -> StreamPart:
        self._usage = self._usage.updated(read_usage(event.usage) or ReportedUsage())
        delta = event.delta or _Delta()
        reason = None if delta.stop_reason is None else FINISH_REASONS.get(delta.stop_reason, "stop")
        step = ChunkChoice(finish_reason=reason)
        if delta.stop_sequence is not None:
            step.matched_stop = delta.stop_sequence
        return self._parts([step], usage=self._usage.buckets())

    def _thought(self, index: int, block: dict[str, Any], *, text: str = "") -> StreamPart:
        delta: dict[str, Any] = {"thinking_blocks": [{"index": self._place(index), **block}]}
        return self._part(delta | {"reasoning_content": text} if text else delta)

    def _call(self, index: int, call: dict[str, Any]) -> StreamPart:
        return self._part({"tool_calls": [{"index": self._place(index), **call}]})

    def _place(self, index: int) -> int:
        try:
            return self._places[index]
        except KeyError as error:
            raise InvalidReplyError(wire_status=200) from error

    def _part(self, delta: dict[str, Any]) -> StreamPart:
        return self._parts([ChunkChoice(delta=delta)])

    def _parts(self, choices: list[ChunkChoice], *, usage: Usage | None = None) -> StreamPart:
        return StreamPart(model=self._model, choices=choices, usage=usage)


def _read(raw: Event) -> _Event:
    try:
        return _decode(raw.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=200) from error
