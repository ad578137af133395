"""Gemini's replies in canonical words, whole and streamed: a whole one is read as a stream of one piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from dispatch_app.execution.assembly import assemble
from dispatch_app.execution.canonical import ChunkChoice, Reply, StreamPart
from dispatch_app.execution.errors import InvalidReplyError, StreamFailedError
from dispatch_app.providers.adapter import StreamDecoder, StreamEnd
from dispatch_app.providers.gemini.response import (
    Candidate,
    FunctionCall,
    Part,
    Response,
    finish_reason,
    read_response,
)
from dispatch_app.providers.gemini.signatures import sealed, sealed_of_call
from dispatch_app.providers.sse import EventDecoder
from policies_app.routing.types import Usage

Delta = dict[str, Any]


def parse_reply(body: bytes, *, wire_status: int, first_byte_at: float) -> Reply:
    """See `Adapter.parse_reply`."""
    response = read_response(body, wire_status=wire_status)
    parts = list(_Answers().take(response))
    reply = assemble(parts, wire_status=wire_status, first_byte_at=first_byte_at)
    if not reply.choices:
        raise InvalidReplyError(wire_status=wire_status, usage=response.usage())
    for choice in reply.choices:
        choice.message["content"] = choice.message["content"] or None
        choice.finish_reason = choice.finish_reason or "stop"
    return reply


def stream_decoder() -> StreamDecoder:
    """See `Adapter.stream_decoder`."""
    return _StreamDecoder()


class _StreamDecoder:
    """Implements `StreamDecoder`. No event ends a stream: it is whole if its bytes end after every answer has finished."""

    def __init__(self) -> None:
        self._events = EventDecoder()
        self._answers = _Answers()

    def feed(self, data: bytes) -> Iterator[StreamPart | StreamEnd]:
        """See `StreamDecoder.feed`."""
        for event in self._events.feed(data):
            yield from self._take(event.data)

    def close(self) -> Iterator[StreamPart | StreamEnd]:
        """See `StreamDecoder.close`."""
        for event in self._events.close():
            yield from self._take(event.data)
        if self._answers.are_finished:
            yield StreamEnd()

    def _take(self, data: bytes) -> Iterator[StreamPart]:
        response = read_response(data, wire_status=200)
        if response.error is not None:
            raise StreamFailedError(wire_status=200)
        return self._answers.take(response)


@dataclass(slots=True)
class _Answer:
    """How far one of the answers is."""

    index: int
    calls: int = 0
    signatures: int = 0
    is_finished: bool = False

    def step(self, delta: Delta) -> ChunkChoice:
        return ChunkChoice(index=self.index, delta=delta)


class _Answers:
    """All answers of one reply. What was used is told with every piece; it counts once every answer has finished."""

    def __init__(self) -> None:
        self._answers: dict[int, _Answer] = {}

    @property
    def are_finished(self) -> bool:
        return bool(self._answers) and all(answer.is_finished for answer in self._answers.values())

    def take(self, response: Response) -> Iterator[StreamPart]:
        """What the next piece says.

        :raises InvalidReplyError: if an answer ended in what is none.
        """
        usage = response.usage()
        steps = self._refused() if response.is_blocked else self._steps(response, usage)
        for step in steps:
            yield StreamPart(model=response.model_name, choices=[step], usage=None)
        if self.are_finished and usage is not None:
            yield StreamPart(model=response.model_name, choices=[], usage=usage)

    def _refused(self) -> Iterator[ChunkChoice]:
        self._answers[0] = _Answer(0, is_finished=True)
        yield ChunkChoice(delta={"role": "assistant", "content": ""}, finish_reason="content_filter")

    def _steps(self, response: Response, usage: Usage | None) -> Iterator[ChunkChoice]:
        for candidate in response.candidates:
            answer = self._answers.get(candidate.index)
            if answer is None:
                answer = self._answers[candidate.index] = _Answer(candidate.index)
                yield answer.step({"role": "assistant", "content": ""})
            yield from _said(answer, candidate, response)
            if candidate.finish_reason is not None:
                answer.is_finished = True
                reason = finish_reason(candidate.finish_reason, has_calls=answer.calls > 0, usage=usage)
                yield ChunkChoice(index=candidate.index, finish_reason=reason)


def _said(answer: _Answer, candidate: Candidate, response: Response) -> Iterator[ChunkChoice]:
    parts = candidate.content.parts if candidate.content is not None else []
    for part in parts:
        carried = None if part.thought_signature is None else sealed(part.thought_signature)
        if part.function_call is not None:
            call_id = part.function_call.id or f"call_{response.response_id}_{candidate.index}_{answer.calls}"
            yield answer.step(_call(part, part.function_call, call_id=call_id, index=answer.calls))
            answer.calls += 1
            if part.thought_signature is not None:
                carried = sealed_of_call(part.thought_signature, call_id=call_id)
        elif part.text and part.thought:
            yield answer.step(_thought(0, thinking=part.text) | {"reasoning_content": part.text})
        elif part.text:
            yield answer.step({"content": part.text})
        if carried is not None:
            answer.signatures += 1
            yield answer.step(_thought(answer.signatures, signature=carried))


def _thought(index: int, *, thinking: str = "", signature: str = "") -> Delta:
    """What was thought is the block 0; each signature is a block of its own behind it."""
    block = {"index": index, "type": "thinking", "thinking": thinking, "signature": signature}
    return {"thinking_blocks": [block]}


def _call(part: Part, call: FunctionCall, *, call_id: str, index: int) -> Delta:
    told: Delta = {
        "index": index,
        "id": call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": msgspec.json.encode(call.args or {}).decode()},
    }
    if part.thought_signature is not None:
        told["extra_content"] = {"google": {"thought_signature": part.thought_signature}}
    return {"tool_calls": [told]}
