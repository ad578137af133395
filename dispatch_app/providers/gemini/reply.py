"""Gemini's replies in canonical words, whole and streamed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from dispatch_app.execution.canonical import Choice, ChunkChoice, Reply, StreamPart
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

_encode = msgspec.json.Encoder().encode


def parse_reply(body: bytes, *, wire_status: int, first_byte_at: float) -> Reply:
    """See `Adapter.parse_reply`."""
    response = read_response(body, wire_status=wire_status)
    usage = response.usage()
    choices = [_whole(candidate, response, usage) for candidate in response.candidates]
    if response.is_blocked:
        message = {"role": "assistant", "content": None}
        choices = [Choice(message=message, finish_reason="content_filter")]
    if not choices:
        raise InvalidReplyError(wire_status=wire_status, usage=usage)
    return Reply(
        model=response.model_name,
        choices=choices,
        usage=usage,
        wire_status=wire_status,
        first_byte_at=first_byte_at,
    )


def _whole(candidate: Candidate, response: Response, usage: Usage | None) -> Choice:
    """An answer that came in one piece."""
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[Delta] = []
    signatures: list[Delta] = []
    for part in candidate.parts:
        call_id = ""
        if part.function_call is not None:
            call_id = _call_id(part.function_call, candidate, response, place=len(calls))
            calls.append(_call(part, part.function_call, call_id=call_id))
        elif part.text:
            (thoughts if part.thought else texts).append(part.text)
        if part.thought_signature is not None:
            signatures.append(_thought(signature=_sealed(part.thought_signature, call_id)))
    message: Delta = {"role": "assistant", "content": "".join(texts) or None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
        signatures.insert(0, _thought(thinking=message["reasoning_content"]))
    if signatures:
        message["thinking_blocks"] = signatures
    if calls:
        message["tool_calls"] = calls
    reason = finish_reason(candidate.finish_reason or "STOP", has_calls=bool(calls), usage=usage)
    return Choice(index=candidate.index, message=message, finish_reason=reason)


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
    """All answers of one reply. What was used is told with every piece; it counts once every answer has finished.

    How much was thought so far is told too, shown or not.
    """

    def __init__(self) -> None:
        self._answers: dict[int, _Answer] = {}
        self._thought_tokens = 0
        self._untold_tokens = 0

    @property
    def are_finished(self) -> bool:
        return bool(self._answers) and all(answer.is_finished for answer in self._answers.values())

    def take(self, response: Response) -> Iterator[StreamPart]:
        """What the next piece says.

        :raises InvalidReplyError: if an answer ended in what is none.
        """
        usage = response.usage()
        self._note_thoughts(usage)
        steps = self._refused() if response.is_blocked else self._steps(response, usage)
        for step in steps:
            unseen_tokens, self._untold_tokens = self._untold_tokens, 0
            yield StreamPart(
                model=response.model_name, choices=[step], usage=None, unseen_tokens=unseen_tokens
            )
        if self.are_finished and usage is not None:
            yield StreamPart(model=response.model_name, choices=[], usage=usage)

    def _note_thoughts(self, usage: Usage | None) -> None:
        more = 0 if usage is None else max(0, usage.reasoning_tokens - self._thought_tokens)
        self._thought_tokens += more
        self._untold_tokens += more

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
    for part in candidate.parts:
        call_id = ""
        if part.function_call is not None:
            call_id = _call_id(part.function_call, candidate, response, place=answer.calls)
            call = _call(part, part.function_call, call_id=call_id)
            yield answer.step({"tool_calls": [{"index": answer.calls, **call}]})
            answer.calls += 1
        elif part.text and part.thought:
            block = {"index": 0, **_thought(thinking=part.text)}
            yield answer.step({"thinking_blocks": [block], "reasoning_content": part.text})
        elif part.text:
            yield answer.step({"content": part.text})
        if part.thought_signature is not None:
            answer.signatures += 1
            block = _thought(signature=_sealed(part.thought_signature, call_id))
            yield answer.step({"thinking_blocks": [{"index": answer.signatures, **block}]})


def _call_id(call: FunctionCall, candidate: Candidate, response: Response, *, place: int) -> str:
    return call.id or f"call_{response.response_id}_{candidate.index}_{place}"


def _sealed(signature: str, call_id: str) -> str:
    return sealed_of_call(signature, call_id=call_id) if call_id else sealed(signature)


def _thought(*, thinking: str = "", signature: str = "") -> Delta:
    """What was thought is the first block; each signature is a block of its own behind it."""
    return {"type": "thinking", "thinking": thinking, "signature": signature}


def _call(part: Part, call: FunctionCall, *, call_id: str) -> Delta:
    told: Delta = {
        "id": call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": _encode(call.args or {}).decode()},
    }
    if part.thought_signature is not None:
        told["extra_content"] = {"google": {"thought_signature": part.thought_signature}}
    return told
