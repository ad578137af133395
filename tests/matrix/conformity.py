"""Whether what came over the wire is what the official clients' own types promise: strictly, and with nothing beside it.

The clients themselves build their objects without validation, so it is the bytes that are read here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import anthropic.types
import anthropic.types.shared
import openai.types
import openai.types.chat
import openai.types.responses
import openai.types.shared
import pydantic

from tests.matrix.event_order import check_messages, check_responses
from tests.matrix.wiretap import Exchange

ADDITIONS = frozenset(
    {
        # What a dispatch came to: in an answer that asked for it, and with the last event of a stream.
        "dispatch",
        "response.dispatch",
        # What a model thought, under the names that others use.
        "choices.message.reasoning_content",
        "choices.message.thinking_blocks",
        "choices.delta.reasoning_content",
        "choices.delta.thinking_blocks",
        # The signature by which Gemini knows a call of a tool again, where Google's own endpoint for these clients has it.
        "choices.message.tool_calls.extra_content",
        "choices.delta.tool_calls.extra_content",
        # Which stop sequence ended an answer, where the vendor says.
        "choices.matched_stop",
        # Whether a name is a policy's or a model's, in lists of what may be called.
        "kind",
        "data.kind",
        # Anthropic's errors have types only; the code is Signalbox's own.
        "error.code",
    }
)
"""All that may stand beside what the types know. `docs/services.md` tells of each."""


class _OpenAIModels(pydantic.BaseModel):
    """The client has a page in place of a type for this."""

    object: Literal["list"]
    data: list[openai.types.Model]


class _AnthropicModels(pydantic.BaseModel):
    """The client has a page in place of a type for this."""

    data: list[anthropic.types.ModelInfo]
    has_more: bool
    first_id: str | None
    last_id: str | None


class _PackedEmbedding(openai.types.Embedding):
    """What the client asks for of its own accord, and unpacks before it is anything of the client's."""

    embedding: str  # type: ignore[assignment]


class _PackedEmbeddings(openai.types.CreateEmbeddingResponse):
    data: list[_PackedEmbedding]  # type: ignore[assignment]


_PLAIN: Mapping[str, Any] = {
    "/v1/chat/completions": openai.types.chat.ChatCompletion,
    "/v1/responses": openai.types.responses.Response,
    "/v1/messages": anthropic.types.Message,
    "/v1/messages/count_tokens": anthropic.types.MessageTokensCount,
    "/v1/embeddings": openai.types.CreateEmbeddingResponse | _PackedEmbeddings,
    "/v1/models": _OpenAIModels | _AnthropicModels,
}
_MODEL = openai.types.Model | anthropic.types.ModelInfo
"""What is at each address below `/v1/models`, whoever asks."""
_EVENTS: Mapping[str, Any] = {
    "/v1/chat/completions": openai.types.chat.ChatCompletionChunk,
    "/v1/responses": openai.types.responses.ResponseStreamEvent,
    "/v1/messages": anthropic.types.RawMessageStreamEvent,
}
_NAMED = frozenset({"/v1/responses", "/v1/messages"})
"""Where each event's name stands before it, and is its type."""


class _OpenAIError(pydantic.BaseModel):
    error: openai.types.shared.ErrorObject


def check_exchange(exchange: Exchange, *, is_cut: bool = False) -> None:
    """Check the whole of an answer; one that `is_cut` has been left by its client and is checked as far as it came.

    :raises AssertionError: if anything is not as the types have it.
    """
    assert exchange.is_whole or is_cut, f"{exchange.path}: the answer broke off"
    if exchange.status >= 400:
        _check(_error_type(exchange.path), bytes(exchange.body))
    elif exchange.headers["content-type"].startswith("text/event-stream"):
        _check_stream(exchange, is_cut=is_cut)
    else:
        _check(_PLAIN.get(exchange.path, _MODEL), bytes(exchange.body))


def _check_stream(exchange: Exchange, *, is_cut: bool) -> None:
    *blocks, rest = bytes(exchange.body).split(b"\n\n")
    assert is_cut or not rest, "the last event has no end"
    events = [event for block in blocks if (event := _event(exchange.path, block)) is not None]
    for name, data in events:
        _check_event(exchange.path, name, data)
    order = {"/v1/responses": check_responses, "/v1/messages": check_messages}.get(exchange.path)
    if order is not None:
        order([json.loads(data) for _, data in events], is_cut=is_cut)
    elif not is_cut:
        _check_end(blocks, events)


def _event(path: str, block: bytes) -> tuple[str, bytes] | None:
    """An event's name and data; None for what is a comment, or the mark of the end."""
    lines = block.split(b"\n")
    if lines[0].startswith(b":") or block == b"data: [DONE]":
        return None
    name = lines.pop(0).removeprefix(b"event: ").decode() if path in _NAMED else ""
    (data,) = lines
    assert data.startswith(b"data: "), f"not an event: {block!r}"
    return name, data.removeprefix(b"data: ")


def _check_event(path: str, name: str, data: bytes) -> None:
    told = json.loads(data)
    assert not name or told["type"] == name, f"an event {name} of type {told['type']}"
    if path == "/v1/messages" and name == "ping":
        assert told == {"type": "ping"}
    elif (path == "/v1/messages" and name == "error") or (path == "/v1/chat/completions" and "error" in told):
        _check(_error_type(path), data)
    else:
        _check(_EVENTS[path], data)


def _check_end(blocks: Sequence[bytes], events: Sequence[tuple[str, bytes]]) -> None:
    """A stream of chunks ends with its mark, unless it ends with an error."""
    has_failed = bool(events) and b'"error"' in events[-1][1]
    assert (blocks[-1] == b"data: [DONE]") is not has_failed
    assert blocks.count(b"data: [DONE]") == (0 if has_failed else 1)


def _error_type(path: str) -> Any:
    return anthropic.types.shared.ErrorResponse if path.startswith("/v1/messages") else _OpenAIError


def _check(kind: Any, data: bytes) -> None:
    try:
        value = _adapter(kind).validate_json(data, strict=True)
    except pydantic.ValidationError as error:
        raise AssertionError(f"{error} in {data.decode()[:1_000]}") from error
    beside = set(_beside(value)) - ADDITIONS
    assert not beside, f"{sorted(beside)} stand beside the types, in {data.decode()[:1_000]}"


@cache
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(kind)


def _beside(value: Any, place: str = "") -> Iterator[str]:
    """Where something stands that the types do not know. Free-form objects have no types, so anything may stand there."""
    match value:
        case pydantic.BaseModel():
            yield from (f"{place}{name}" for name in value.__pydantic_extra__ or ())
            for name, inner in value.__dict__.items():
                yield from _beside(inner, f"{place}{name}.")
        case list():
            for inner in value:
                yield from _beside(inner, place)
        case _:
            return
