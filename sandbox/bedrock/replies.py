"""What the vendor says, as Converse and ConverseStream say it."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sandbox.completion import Choice, Completion, ToolCall
from sandbox.errors import ApiError
from sandbox.event_stream import encode_event
from sandbox.refusals import bedrock_exception
from sandbox.thoughts import sign, think
from sandbox.tokens import count_tokens, split_tokens
from sandbox.wire import Framing, Headers, Piece, Reply

Block = dict[str, Any]
_Step = tuple[str, dict[str, Any], int]
"""An event's kind, what it says, and the output tokens that it carries."""

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "content_filtered",
}
_TOO_LONG = "Input is too long for requested model."


def render_reply(completion: Completion, *, usage: Mapping[str, Any] | None) -> Reply:
    """Return the reply to Converse. `usage` has OpenAI's names; with None, it reports none."""
    (choice,) = completion.choices
    body: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": _blocks(completion, choice)}},
        "stopReason": _stop_reason(choice),
        "metrics": {"latencyMs": 1},
    }
    if usage is not None:
        body["usage"] = _usage(usage)
    return Reply.json(body, headers=_headers(completion))


def render_events(
    completion: Completion, *, usage: Mapping[str, Any] | None, per_token_ms: float = 0
) -> Reply:
    """Return the reply to ConverseStream, a message a piece."""
    steps = [*_steps(completion), *_metadata(usage)]
    pieces = [
        Piece(
            data=encode_event(kind, msgspec.json.encode(said)),
            delay_ms=per_token_ms * output_tokens,
            output_tokens=output_tokens,
        )
        for kind, said, output_tokens in steps
    ]
    return Reply(
        headers=(("content-type", "application/vnd.amazon.eventstream"), *_headers(completion)),
        pieces=pieces,
        framing=Framing.CHUNKED,
    )


def render_refusal(error: ApiError) -> Reply:
    """Return the exception that tells of an error."""
    told = error.body["error"]
    code = told["code"] or ""
    exception = code if code.endswith("Exception") else bedrock_exception(error.status)
    message = _TOO_LONG if code == "context_length_exceeded" else told["message"]
    return Reply.json({"message": message}, status=error.status, headers=(("x-amzn-errortype", exception),))


def _blocks(completion: Completion, choice: Choice) -> list[Block]:
    blocks: list[Block] = []
    if thought := think(completion.usage.reasoning_tokens):
        text = {"text": thought, "signature": sign(thought)}
        blocks.append({"reasoningContent": {"reasoningText": text}})
    if choice.tokens:
        blocks.append({"text": "".join(choice.tokens)})
    return blocks + [{"toolUse": _tool_use(call)} for call in choice.tool_calls]


def _tool_use(call: ToolCall) -> Block:
    return {"toolUseId": call.id, "name": call.name, "input": msgspec.json.decode(call.arguments)}


def _steps(completion: Completion) -> Iterator[_Step]:
    (choice,) = completion.choices
    yield "messageStart", {"role": "assistant"}, 0
    lanes = [*_thought(completion.usage.reasoning_tokens), *_text(choice), *map(_call, choice.tool_calls)]
    for index, lane in enumerate(lanes):
        place = {"contentBlockIndex": index}
        for kind, said, output_tokens in lane:
            yield kind, {**said, **place}, output_tokens
        yield "contentBlockStop", place, 0
    yield "messageStop", {"stopReason": _stop_reason(choice)}, 0


def _thought(tokens: int) -> list[list[_Step]]:
    thought = think(tokens)
    steps = [_reasoning({"text": token}, 1) for token in split_tokens(thought)]
    return [[*steps, _reasoning({"signature": sign(thought)}, 0)]] if steps else []


def _reasoning(step: dict[str, str], output_tokens: int) -> _Step:
    return "contentBlockDelta", {"delta": {"reasoningContent": step}}, output_tokens


def _text(choice: Choice) -> list[list[_Step]]:
    steps: list[_Step] = [("contentBlockDelta", {"delta": {"text": token}}, 1) for token in choice.tokens]
    return [steps] if steps else []


def _call(call: ToolCall) -> list[_Step]:
    told = {"toolUse": {"toolUseId": call.id, "name": call.name}}
    arguments = "" if call.arguments == "{}" else call.arguments
    return [
        ("contentBlockStart", {"start": told}, count_tokens(call.name)),
        *(
            ("contentBlockDelta", {"delta": {"toolUse": {"input": token}}}, 1)
            for token in split_tokens(arguments)
        ),
    ]


def _metadata(usage: Mapping[str, Any] | None) -> Iterator[_Step]:
    if usage is not None:
        yield "metadata", {"usage": _usage(usage), "metrics": {"latencyMs": 1}}, 0


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """Tokens read from the cache, and those written to it, stand beside the input's count, not within."""
    details = usage["prompt_tokens_details"]
    cached, written = details["cached_tokens"], details["cache_write_tokens"]
    return {
        "inputTokens": usage["prompt_tokens"] - cached - written,
        "outputTokens": usage["completion_tokens"],
        "totalTokens": usage["prompt_tokens"] + usage["completion_tokens"],
        "cacheReadInputTokens": cached,
        "cacheWriteInputTokens": written,
    }


def _stop_reason(choice: Choice) -> str:
    return _STOP_REASONS.get(choice.finish_reason, choice.finish_reason)


def _headers(completion: Completion) -> Headers:
    return (("x-amzn-requestid", completion.id.removeprefix("chatcmpl-")),)
