"""What the vendor says, as Anthropic's Messages say it."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from sandbox.completion import Choice, Completion, ToolCall
from sandbox.errors import ApiError
from sandbox.thoughts import sign, think
from sandbox.tokens import count_tokens, split_tokens
from sandbox.wire import Framing, Headers, Piece, Reply

Block = dict[str, Any]
_Step = tuple[Block, int]
"""An event, and the output tokens that it carries."""

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_ERROR_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_TOO_LONG = "prompt is too long"


def render_reply(completion: Completion, *, usage: Mapping[str, Any] | None) -> Reply:
    """Return a plain reply. `usage` has OpenAI's names; with None, it reports none."""
    (choice,) = completion.choices
    body = _message(completion) | {
        "content": _blocks(completion, choice),
        "stop_reason": _stop_reason(choice),
        "stop_sequence": None,
    }
    if usage is not None:
        body["usage"] = _usage(usage)
    return Reply.json(body, headers=_headers(completion))


def render_events(
    completion: Completion, *, usage: Mapping[str, Any] | None, per_token_ms: float = 0
) -> Reply:
    """Return a completion as a stream of server-sent events, one piece each."""
    pieces = [
        Piece(
            data=b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event)),
            delay_ms=per_token_ms * output_tokens,
            output_tokens=output_tokens,
        )
        for event, output_tokens in _steps(completion, usage)
    ]
    return Reply(
        headers=(("content-type", "text/event-stream; charset=utf-8"), *_headers(completion)),
        pieces=pieces,
        framing=Framing.CHUNKED,
    )


def render_refusal(error: ApiError) -> Reply:
    """Return the reply that tells of an error."""
    told = error.body["error"]
    message = _TOO_LONG if told["code"] == "context_length_exceeded" else told["message"]
    kind = _ERROR_TYPES.get(error.status, "invalid_request_error")
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_sandbox"}
    return Reply.json(body, status=error.status)


def _message(completion: Completion) -> Block:
    return {
        "id": completion.id.replace("chatcmpl-", "msg_"),
        "type": "message",
        "role": "assistant",
        "model": completion.model.name,
    }


def _blocks(completion: Completion, choice: Choice) -> list[Block]:
    blocks: list[Block] = []
    if thought := think(completion.usage.reasoning_tokens):
        blocks.append({"type": "thinking", "thinking": thought, "signature": sign(thought)})
    if choice.tokens:
        blocks.append({"type": "text", "text": "".join(choice.tokens)})
    return blocks + [_tool_use(call, msgspec.json.decode(call.arguments)) for call in choice.tool_calls]


def _tool_use(call: ToolCall, arguments: Any) -> Block:
    return {
        "type": "tool_use",
        "id": call.id.replace("call_", "toolu_"),
        "name": call.name,
        "input": arguments,
    }


def _steps(completion: Completion, usage: Mapping[str, Any] | None) -> Iterator[_Step]:
    (choice,) = completion.choices
    told = {} if usage is None else _usage(usage)
    beginning = _message(completion) | {"content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": beginning | {"usage": told | {"output_tokens": 1}}}, 0
    yield {"type": "ping"}, 0
    lanes = [*_thought(completion.usage.reasoning_tokens), *_text(choice), *map(_call, choice.tool_calls)]
    for index, (opening, deltas) in enumerate(lanes):
        yield {"type": "content_block_start", "index": index, "content_block": opening[0]}, opening[1]
        for delta, output_tokens in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}, output_tokens
        yield {"type": "content_block_stop", "index": index}, 0
    delta = {"stop_reason": _stop_reason(choice), "stop_sequence": None}
    yield {"type": "message_delta", "delta": delta, "usage": told}, 0
    yield {"type": "message_stop"}, 0


def _thought(tokens: int) -> list[tuple[_Step, list[_Step]]]:
    thought = think(tokens)
    if not thought:
        return []
    steps: list[_Step] = [
        ({"type": "thinking_delta", "thinking": token}, 1) for token in split_tokens(thought)
    ]
    signed: _Step = ({"type": "signature_delta", "signature": sign(thought)}, 0)
    return [(({"type": "thinking", "thinking": "", "signature": ""}, 0), [*steps, signed])]


def _text(choice: Choice) -> list[tuple[_Step, list[_Step]]]:
    steps: list[_Step] = [({"type": "text_delta", "text": token}, 1) for token in choice.tokens]
    return [(({"type": "text", "text": ""}, 0), steps)] if steps else []


def _call(call: ToolCall) -> tuple[_Step, list[_Step]]:
    """The arguments come bit by bit, after an empty bit; where there are none, that is all."""
    arguments = "" if call.arguments == "{}" else call.arguments
    bits: list[_Step] = [
        ({"type": "input_json_delta", "partial_json": bit}, 1) for bit in split_tokens(arguments)
    ]
    first: _Step = ({"type": "input_json_delta", "partial_json": ""}, 0)
    return (_tool_use(call, {}), count_tokens(call.name)), [first, *bits]


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    """Tokens read from the cache, and those written to it, stand beside the input's count, not within."""
    details = usage["prompt_tokens_details"]
    cached, written = details["cached_tokens"], details["cache_write_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"] - cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage["completion_tokens"],
    }


def _stop_reason(choice: Choice) -> str:
    return _STOP_REASONS.get(choice.finish_reason, choice.finish_reason)


def _headers(completion: Completion) -> Headers:
    return (("request-id", completion.id.replace("chatcmpl-", "req_")),)
