"""One finished call: what the model generated, what it used, and OpenAI's two ways to write it down."""

import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, zip_longest
from typing import Any

import msgspec

from sandbox.answers import Answer, compose_answer
from sandbox.chance import draw
from sandbox.chat import ChatRequest, NamedTool, Tool
from sandbox.fleet import VendorModel
from sandbox.logprobs import Certainty, render_logprobs
from sandbox.prompt_cache import NOTHING_CACHED, CacheUse
from sandbox.specimens import fit_schema
from sandbox.speech import UNSCRIPTED, Speech, each
from sandbox.tokens import count_tokens, split_tokens

REASONING_TOKENS = {"low": 16, "medium": 64, "high": 256, "xhigh": 512, "max": 512}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    id: str
    name: str
    arguments: str

    @property
    def output_tokens(self) -> int:
        return count_tokens(self.name) + count_tokens(self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of the n replies. `tokens` are those of its text or of its refusal, tool calls come behind."""

    index: int
    tokens: tuple[str, ...]
    certainty: Certainty
    finish_reason: str
    tool_calls: tuple[ToolCall, ...] = ()
    is_refusal: bool = False

    @property
    def has_content(self) -> bool:
        return not self.is_refusal and (bool(self.tokens) or not self.tool_calls)

    @property
    def output_tokens(self) -> int:
        return len(self.tokens) + sum(call.output_tokens for call in self.tool_calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts as OpenAI reports them: tokens read from a cache or written to it, and reasoning, are inside their totals."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    written_tokens: int = 0

    def as_wire(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "prompt_tokens_details": {
                "cached_tokens": self.cached_tokens,
                "cache_write_tokens": self.written_tokens,
                "audio_tokens": 0,
            },
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning_tokens,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    id: str
    created_at: int
    model: VendorModel
    choices: tuple[Choice, ...]
    usage: Usage
    top_logprobs: int | None
    shows_thoughts: bool = True

    @property
    def reasoning_of_one(self) -> int:
        """Return the reasoning tokens of each of the choices."""
        return self.usage.reasoning_tokens // len(self.choices)

    @property
    def envelope(self) -> dict[str, Any]:
        """Return the fields that a reply and each chunk of a stream have in common."""
        return {
            "id": self.id,
            "created": self.created_at,
            "model": self.model.name,
            "service_tier": "default",
            "system_fingerprint": f"fp_{int(draw(self.model.name) * 16**10):010x}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One event of a stream and the output tokens that it carries."""

    value: dict[str, Any]
    output_tokens: int = 0


def complete(
    chat: ChatRequest, *, model: VendorModel, cache: CacheUse = NOTHING_CACHED, speech: Speech = UNSCRIPTED
) -> Completion:
    """Let a model serve a request, in its own words or in scripted ones. What it thinks counts as output, and is limited with it."""
    reasoning = min(REASONING_TOKENS.get(chat.reasoning_effort or model.effort, 0), _limit(chat, model))
    choices = tuple(_choose(chat, model, index, reasoning, speech) for index in range(chat.choices))
    return Completion(
        id=f"chatcmpl-{uuid.uuid4().hex}",
        created_at=int(time.time()),
        model=model,
        choices=choices,
        usage=Usage(
            prompt_tokens=chat.count_prompt_tokens(),
            cached_tokens=cache.read,
            written_tokens=cache.written,
            completion_tokens=sum(choice.output_tokens + reasoning for choice in choices),
            reasoning_tokens=reasoning * len(choices),
        ),
        top_logprobs=(chat.top_logprobs or 0) if chat.logprobs else None,
        shows_thoughts=chat.shows_thoughts,
    )


def _choose(chat: ChatRequest, model: VendorModel, index: int, reasoning: int, speech: Speech) -> Choice:
    answer = compose_answer(model=model, question=chat.question, fingerprint=chat.fingerprint(), sample=index)
    words = speech.words(index)
    calls = _call_tools(chat, answer, index) if words is None else _scripted_calls(speech, index)
    if words is None:
        words = "" if calls else _format(chat, answer)
    room = _limit(chat, model) - reasoning
    tokens, reason = _truncate(words, chat, room)
    fitting = _fitting(calls, room)
    if calls:
        reason = "tool_calls" if fitting == calls else "length"
    return Choice(
        index=index,
        tokens=tokens,
        certainty=_certainty(answer, speech),
        finish_reason=speech.finish_reason or reason,
        tool_calls=fitting,
        is_refusal=speech.refusal is not None,
    )


def _certainty(answer: Answer, speech: Speech) -> Certainty:
    return Certainty(
        confidence=answer.confidence, logprobs=each(speech.logprobs), margins=each(speech.margins)
    )


def _scripted_calls(speech: Speech, index: int) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(id=_call_id(call.name, position, index), name=call.name, arguments=call.arguments)
        for position, call in enumerate(speech.tool_calls)
    )


def _call_tools(chat: ChatRequest, answer: Answer, index: int) -> tuple[ToolCall, ...]:
    return tuple(_call_tool(tool, answer, index) for tool in _tools_to_call(chat))


def _tools_to_call(chat: ChatRequest) -> Sequence[Tool]:
    """Return the tools to call: those demanded, or those that the user's last message names."""
    tools = chat.tools or ()
    if isinstance(chat.tool_choice, NamedTool):
        wanted = chat.tool_choice.function.name
        return [tool for tool in tools if tool.function.name == wanted]
    if chat.tool_choice == "none" or chat.messages[-1].role == "tool":
        return ()
    named = [tool for tool in tools if tool.function.name in chat.question]
    return named or (tools[:1] if chat.tool_choice == "required" else ())


def _call_tool(tool: Tool, answer: Answer, index: int) -> ToolCall:
    arguments = fit_schema({"type": "object", **tool.function.parameters}, answer=answer)
    return ToolCall(
        id=_call_id(tool.function.name, answer.text, index),
        name=tool.function.name,
        arguments=msgspec.json.encode(arguments).decode(),
    )


def _call_id(*parts: object) -> str:
    return f"call_{int(draw(*parts) * 16**16):016x}"


def _format(chat: ChatRequest, answer: Answer) -> str:
    wanted = chat.response_format
    if wanted is None or wanted.type == "text":
        return answer.text
    if wanted.json_schema is None:
        return msgspec.json.encode({"answer": answer.text}).decode()
    return msgspec.json.encode(fit_schema(wanted.json_schema.schema, answer=answer)).decode()


def _limit(chat: ChatRequest, model: VendorModel) -> int:
    return min(chat.output_limit_tokens or model.output_limit_tokens, model.output_limit_tokens)


def _fitting(calls: tuple[ToolCall, ...], room: int) -> tuple[ToolCall, ...]:
    """The calls that are within so many tokens; one that is not is left out with all that follow."""
    sizes = accumulate(call.output_tokens for call in calls)
    return tuple(call for call, size in zip(calls, sizes, strict=True) if size <= room)


def _truncate(text: str, chat: ChatRequest, room: int) -> tuple[tuple[str, ...], str]:
    for stop in chat.stops:
        text = text.partition(stop)[0] if stop else text
    tokens = split_tokens(text)
    return tokens[:room], "length" if len(tokens) > room else "stop"


def render_plain(completion: Completion, *, usage: dict[str, Any] | None) -> dict[str, Any]:
    """Return the body of a plain reply; without `usage` it reports none."""
    body = {
        "object": "chat.completion",
        **completion.envelope,
        "choices": [_render_choice(choice, completion.top_logprobs) for choice in completion.choices],
    }
    return body if usage is None else {**body, "usage": usage}


def _render_choice(choice: Choice, top_logprobs: int | None) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(choice.tokens) if choice.has_content else None,
        "refusal": "".join(choice.tokens) if choice.is_refusal else None,
        "annotations": [],
    }
    if choice.tool_calls:
        message["tool_calls"] = [_render_call(call) for call in choice.tool_calls]
    return {
        "index": choice.index,
        "message": message,
        "logprobs": _render_logprobs(choice, 0, choice.tokens, top_logprobs),
        "finish_reason": choice.finish_reason,
    }


def _render_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def render_stream(completion: Completion, *, usage: dict[str, Any] | None) -> Iterator[Chunk]:
    """Yield the chunks of a stream: roles, deltas in turns, finish reasons, and `usage` where given."""
    shared = {"object": "chat.completion.chunk", **completion.envelope}
    if usage is not None:
        shared["usage"] = None
    lanes = [_deltas(choice, completion.top_logprobs) for choice in completion.choices]
    for delta in chain.from_iterable(zip_longest(*lanes)):
        if delta is not None:
            choice, output_tokens = delta
            yield Chunk(value={**shared, "choices": [choice]}, output_tokens=output_tokens)
    if usage is not None:
        yield Chunk(value={**shared, "choices": [], "usage": usage})


def _deltas(choice: Choice, top_logprobs: int | None) -> Iterator[tuple[dict[str, Any], int]]:
    role = {"role": "assistant", "content": "" if choice.has_content else None, "refusal": None}
    yield _delta(choice, role), 0
    part = "refusal" if choice.is_refusal else "content"
    for position, token in enumerate(choice.tokens):
        logprobs = _render_logprobs(choice, position, (token,), top_logprobs)
        yield _delta(choice, {part: token}, logprobs=logprobs), 1
    for index, call in enumerate(choice.tool_calls):
        yield from _call_deltas(choice, index, call)
    yield _delta(choice, {}, finish_reason=choice.finish_reason), 0


def _call_deltas(choice: Choice, index: int, call: ToolCall) -> Iterator[tuple[dict[str, Any], int]]:
    opening = {"index": index, **_render_call(call)}
    opening["function"] = {"name": call.name, "arguments": ""}
    yield _delta(choice, {"tool_calls": [opening]}), count_tokens(call.name)
    for token in split_tokens(call.arguments):
        yield _delta(choice, {"tool_calls": [{"index": index, "function": {"arguments": token}}]}), 1


def _delta(
    choice: Choice, delta: dict[str, Any], *, logprobs: Any = None, finish_reason: str | None = None
) -> dict[str, Any]:
    return {"index": choice.index, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}


def _render_logprobs(
    choice: Choice, position: int, tokens: Sequence[str], top_logprobs: int | None
) -> dict[str, Any] | None:
    if top_logprobs is None or not (choice.has_content or choice.is_refusal):
        return None
    entries = render_logprobs(choice.certainty, tokens, position=position, top_logprobs=top_logprobs)
    return (
        {"content": None, "refusal": entries} if choice.is_refusal else {"content": entries, "refusal": None}
    )
