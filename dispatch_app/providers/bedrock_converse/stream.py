"""ConverseStream's events in canonical parts."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from dispatch_app.execution.canonical import ChunkChoice, StreamPart
from dispatch_app.execution.errors import InvalidReplyError, StreamFailedError
from dispatch_app.providers.adapter import StreamDecoder, StreamEnd
from dispatch_app.providers.bedrock_converse.conversation import ORIGIN
from dispatch_app.providers.bedrock_converse.reply import (
    FINISH_REASONS,
    MALFORMED,
    matched_stop,
    read_usage,
    redacted_thought,
)
from dispatch_app.providers.event_stream import Frame, FrameDecoder
from policies_app.routing.types import Usage


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str = ""
    name: str = ""
    input: str = ""


class _Reasoning(msgspec.Struct, rename="camel"):
    text: str = ""
    signature: str = ""
    redacted_content: str = ""


class _Step(msgspec.Struct, rename="camel"):
    text: str = ""
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _Event(msgspec.Struct, rename="camel"):
    content_block_index: int = 0
    start: _Step = msgspec.field(default_factory=_Step)
    delta: _Step = msgspec.field(default_factory=_Step)
    stop_reason: str = ""
    additional_model_response_fields: Any = None
    usage: Any = None


_Parts = Iterator[StreamPart | StreamEnd]
_decode = msgspec.json.Decoder(_Event).decode
_END = StreamEnd()


def stream_decoder() -> StreamDecoder:
    """See `Adapter.stream_decoder`."""
    return _StreamDecoder()


class _StreamDecoder:
    """Implements `StreamDecoder`. Blocks are counted by Bedrock as one sequence; here each kind has a sequence of its own."""

    def __init__(self) -> None:
        self._frames = FrameDecoder()
        self._calls: dict[int, int] = {}
        self._thoughts: dict[int, int] = {}
        self._without_arguments: set[int] = set()
        self._unsigned: set[int] = set()
        self._redacted: dict[int, bytes] = {}
        self._stop_reason = ""
        self._readers: dict[str, Callable[[_Event], _Parts]] = {
            "messageStart": self._begin,
            "contentBlockStart": self._begin_block,
            "contentBlockDelta": self._continue_block,
            "contentBlockStop": self._end_block,
            "messageStop": self._stop,
            "metadata": self._finish,
        }

    def feed(self, data: bytes) -> _Parts:
        """See `StreamDecoder.feed`. Events of other kinds say nothing."""
        for frame in self._frames.feed(data):
            kind, event = _read(frame)
            if (reader := self._readers.get(kind)) is not None:
                yield from reader(event)

    def close(self) -> _Parts:
        """See `StreamDecoder.close`. A stream that has stopped is complete, also where no usage followed."""
        if self._stop_reason and self._stop_reason not in MALFORMED:
            yield _END

    def _begin(self, _event: _Event) -> _Parts:
        yield _part({"role": "assistant", "content": ""})

    def _begin_block(self, event: _Event) -> _Parts:
        """Only calls are announced; texts and thoughts begin with their first words."""
        call = event.start.tool_use
        if call is None:
            return
        place = self._calls.setdefault(event.content_block_index, len(self._calls))
        self._without_arguments.add(event.content_block_index)
        function = {"name": call.name, "arguments": ""}
        yield _call(place, {"id": call.tool_use_id, "type": "function", "function": function})

    def _continue_block(self, event: _Event) -> _Parts:
        index, delta = event.content_block_index, event.delta
        if delta.text:
            yield _part({"content": delta.text})
        if delta.tool_use is not None and delta.tool_use.input:
            yield self._arguments(index, delta.tool_use.input)
        if delta.reasoning_content is not None:
            yield from self._continue_thought(index, delta.reasoning_content)

    def _arguments(self, index: int, text: str) -> StreamPart:
        if index not in self._calls:
            raise InvalidReplyError(wire_status=200)
        self._without_arguments.discard(index)
        return _call(self._calls[index], {"function": {"arguments": text}})

    def _continue_thought(self, index: int, step: _Reasoning) -> _Parts:
        if step.redacted_content:
            self._redacted[index] = self._redacted.get(index, b"") + _from_base64(step.redacted_content)
            return
        block: dict[str, Any] = {}
        if index not in self._thoughts:
            self._unsigned.add(index)
            block = {"type": "thinking", "thinking": "", "signature": ""}
        place = self._thoughts.setdefault(index, len(self._thoughts))
        if step.text:
            yield _thought(place, block | {"thinking": step.text}, text=step.text)
        if step.signature:
            origin = ORIGIN if index in self._unsigned else ""
            self._unsigned.discard(index)
            yield _thought(place, block | {"signature": f"{origin}{step.signature}"})

    def _end_block(self, event: _Event) -> _Parts:
        """A call without arguments comes without a word of them; where calls are OpenAI's, it has an empty object."""
        index = event.content_block_index
        if index in self._without_arguments:
            yield self._arguments(index, "{}")
        if (data := self._redacted.pop(index, None)) is not None:
            place = self._thoughts.setdefault(index, len(self._thoughts))
            yield _thought(place, redacted_thought(b64encode(data).decode()))

    def _stop(self, event: _Event) -> _Parts:
        self._stop_reason = event.stop_reason
        if event.stop_reason not in MALFORMED:
            step = ChunkChoice(finish_reason=FINISH_REASONS.get(event.stop_reason, "stop"))
            step.matched_stop = matched_stop(event.additional_model_response_fields)
            yield _parts([step])

    def _finish(self, event: _Event) -> _Parts:
        usage = read_usage(event.usage)
        if self._stop_reason in MALFORMED:
            raise InvalidReplyError(wire_status=200, usage=usage)
        yield _parts([], usage=usage)
        if self._stop_reason:
            yield _END


def _read(frame: Frame) -> tuple[str, _Event]:
    """The kind of an event, and what it says.

    :raises StreamFailedError: if it is an exception, whatever that is called.
    """
    if frame.headers.get(":message-type") != "event":
        raise StreamFailedError(wire_status=200)
    try:
        return str(frame.headers.get(":event-type")), _decode(frame.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=200) from error


def _from_base64(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidReplyError(wire_status=200) from error


def _thought(place: int, block: dict[str, Any], *, text: str = "") -> StreamPart:
    delta: dict[str, Any] = {"thinking_blocks": [{"index": place, **block}]}
    return _part(delta | {"reasoning_content": text} if text else delta)


def _call(place: int, call: dict[str, Any]) -> StreamPart:
    return _part({"tool_calls": [{"index": place, **call}]})


def _part(delta: dict[str, Any]) -> StreamPart:
    return _parts([ChunkChoice(delta=delta)])


def _parts(choices: list[ChunkChoice], *, usage: Usage | None = None) -> StreamPart:
    return StreamPart(model="", choices=choices, usage=usage)
