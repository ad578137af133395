"""OpenAI's Chat Completions, as vendors and self-hosted servers speak it. Pure; performs no I/O."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from multidict import CIMultiDict

from dispatch_app.execution.canonical import Choice, ChunkChoice, ClientFormat, Reply, Request, StreamPart
from dispatch_app.execution.errors import (
    ContextTooLongError,
    CredentialRefusedError,
    InvalidReplyError,
    QuotaExhaustedError,
    RateLimitedError,
    RedirectedError,
    RequestRejectedError,
    ServerFailedError,
    StreamFailedError,
    UpstreamError,
)
from dispatch_app.providers.adapter import Built, Prepared, Provider, StreamEnd
from dispatch_app.providers.efforts import effort_of
from dispatch_app.providers.quirks import encoded
from dispatch_app.providers.sse import Event, EventDecoder
from policies_app.routing.codes import OutputLimitParameter
from policies_app.routing.quirks import Quirks
from policies_app.routing.types import Candidate, CatalogueModel, Usage

_RETRIABLE_CLIENT_ERRORS = frozenset({408, 425})
_MOST_MODEL_NAME = 200
_STREAM_OPTIONS = {"include_usage": True}
_END = StreamEnd()
_FOREIGN = frozenset({"thinking_blocks", "cache_control", "is_error"})
"""Fields of a message that are meant for other vendors, and that strict servers refuse."""
_ANTHROPICS = ("thinking", "top_k")
"""Canonical fields that only Anthropic's callers fill in, and OpenAI has no words for; of the first, an effort is made."""
REPLY_MEDIA_TYPE = "application/json"
STREAM_MEDIA_TYPE = "text/event-stream"


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Completion(msgspec.Struct):
    choices: list[Choice]
    model: str | None = None
    usage: Any = None


class _Chunk(msgspec.Struct):
    choices: list[ChunkChoice] = []
    model: str | None = None
    usage: Any = None
    error: Any = None


class _ErrorDetails(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorDetails | str | None = None
    # vLLM's shape has no envelope.
    code: str | int | None = None
    type: str | None = None


_decode_completion = msgspec.json.Decoder(_Completion).decode
_decode_chunk = msgspec.json.Decoder(_Chunk).decode
_decode_error = msgspec.json.Decoder(_ErrorBody).decode


def prepare(provider: Provider) -> Prepared:
    """See `Adapter.prepare`."""
    headers = plain_headers()
    if provider.secret is not None:
        headers["authorization"] = f"Bearer {provider.secret}"
    url = f"{provider.base_url.rstrip('/')}/chat/completions"
    return Prepared(provider=provider, url=url, headers=headers)


def plain_headers() -> CIMultiDict[str]:
    """The headers that every vendor is sent."""
    return CIMultiDict(
        {
            "content-type": "application/json",
            # A compressed reply could hide any size; none is asked for and none is accepted.
            "accept-encoding": "identity",
            "user-agent": "signalbox",
        }
    )


def build(*, request: Request, candidate: Candidate, prepared: Prepared, now: datetime) -> Built:
    """See `Adapter.build`."""
    fields: dict[str, Any] = {"model": candidate.model.wire_name, **_own_words(request)}
    fields["messages"] = _messages(fields["messages"])
    quirks = candidate.model.quirks
    fields[_limit_field(request, quirks)] = candidate.output_tokens_limit
    if request.stream:
        fields["stream"] = True
        # Asked for always: money is settled by it. The client sees it only if it asked too.
        fields["stream_options"] = _STREAM_OPTIONS
    return Built(url=prepared.url, headers=prepared.headers, body=encoded(fields, quirks))


def dropped(request: Request, *, model: CatalogueModel) -> tuple[str, ...]:
    """See `Adapter.dropped`."""
    if request.origin is ClientFormat.OPENAI_CHAT:
        return ()
    asked = [name for name in _ANTHROPICS if request.fields.get(name) is not None]
    if "thinking" in asked and _is_told_as_effort(request.fields):
        asked.remove("thinking")
    return (*asked, *request.extras)


def _is_told_as_effort(fields: Mapping[str, Any]) -> bool:
    """Whether an effort says what Anthropic's field does. That nothing be thought is said by none that all models know."""
    match fields["thinking"], fields.get("reasoning_effort"):
        case {"type": "disabled"}, effort:
            return bool(effort == "none")
        case {"type": "enabled"}, _:
            return True
        case _, effort:
            return effort is not None


def parse_reply(body: bytes, *, wire_status: int, first_byte_at: float) -> Reply:
    """See `Adapter.parse_reply`."""
    try:
        completion = _decode_completion(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=wire_status) from error
    usage = _read_usage(completion.usage)
    if not completion.choices:
        raise InvalidReplyError(wire_status=wire_status, usage=usage)
    return Reply(
        model=model_name(completion.model),
        choices=completion.choices,
        usage=usage,
        wire_status=wire_status,
        first_byte_at=first_byte_at,
    )


def stream_decoder() -> "_StreamDecoder":
    """See `Adapter.stream_decoder`."""
    return _StreamDecoder()


class _StreamDecoder:
    """Implements `StreamDecoder`. No event depends on those before it."""

    def __init__(self) -> None:
        self._events = EventDecoder()

    def feed(self, data: bytes) -> Iterator[StreamPart | StreamEnd]:
        """See `StreamDecoder.feed`."""
        return map(_read_event, self._events.feed(data))

    def close(self) -> Iterator[StreamPart | StreamEnd]:
        """See `StreamDecoder.close`."""
        return map(_read_event, self._events.close())


def _read_event(event: Event) -> StreamPart | StreamEnd:
    if event.data == b"[DONE]":
        return _END
    try:
        chunk = _decode_chunk(event.data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidReplyError(wire_status=200) from error
    if chunk.error is not None or event.name == b"error":
        raise StreamFailedError(wire_status=200)
    return StreamPart(model=model_name(chunk.model), choices=chunk.choices, usage=_read_usage(chunk.usage))


def read_error(
    body: bytes, *, wire_status: int, retry_after_s: int | None, bills_server_errors: bool
) -> UpstreamError:
    """See `Adapter.read_error`."""
    if wire_status >= 500 or wire_status in _RETRIABLE_CLIENT_ERRORS:
        return ServerFailedError(
            wire_status=wire_status, is_billable=bills_server_errors, retry_after_s=retry_after_s
        )
    if wire_status == 429 and "insufficient_quota" not in _error_codes(body):
        return RateLimitedError(wire_status=wire_status, retry_after_s=retry_after_s)
    if wire_status == 400 and "context_length_exceeded" in _error_codes(body):
        return ContextTooLongError(wire_status=wire_status)
    return _refusal_kind(wire_status)(wire_status=wire_status)


def _refusal_kind(wire_status: int) -> type[UpstreamError]:
    if wire_status in {401, 403}:
        return CredentialRefusedError
    if wire_status in {402, 429}:
        return QuotaExhaustedError
    if wire_status >= 400:
        return RequestRejectedError
    return RedirectedError if wire_status >= 300 else InvalidReplyError


def _own_words(request: Request) -> Mapping[str, Any]:
    """The fields of a request; of one that came in other words, as OpenAI has them."""
    if request.origin is ClientFormat.OPENAI_CHAT:
        return request.fields
    fields = {name: value for name, value in request.fields.items() if name not in _ANTHROPICS}
    thinking = request.fields.get("thinking") or {}
    if fields.get("reasoning_effort") is None and thinking.get("type") == "enabled":
        fields["reasoning_effort"] = effort_of(thinking.get("budget_tokens"))
    fields["messages"] = [_unmarked_message(message) for message in fields["messages"]]
    if fields.get("tools"):
        fields["tools"] = _unmarked(fields["tools"])
    return fields


def _unmarked_message(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without the marks of what is to be cached on its parts and calls: servers of this format cache on their own."""
    lists = {name: _unmarked(value) for name, value in message.items() if isinstance(value, list)}
    return {**message, **lists} if lists else message


def _unmarked(items: list[Any]) -> list[Any]:
    if any("cache_control" in item for item in items):
        return [{name: item[name] for name in item if name != "cache_control"} for item in items]
    return items


def _messages(messages: list[Any]) -> list[Any]:
    """The messages without what other vendors' wire formats left in them. Most hold nothing of that, and go as they came."""
    if any(not _FOREIGN.isdisjoint(message) for message in messages):
        return [
            {name: value for name, value in message.items() if name not in _FOREIGN} for message in messages
        ]
    return messages


def _limit_field(request: Request, quirks: Quirks) -> str:
    """What the limit is called. Every server but OpenAI's own knows `max_tokens`, and some know nothing else."""
    if quirks.output_limit_parameter is OutputLimitParameter.AUTOMATIC:
        return request.limit_field or "max_tokens"
    return quirks.output_limit_parameter.value


def model_name(name: str | None) -> str:
    """The model that a vendor says it asked, as the log can hold it."""
    return (name or "").replace("\0", "")[:_MOST_MODEL_NAME]


def _read_usage(raw: Any) -> Usage | None:
    """Put a usage object into disjoint buckets; None when there is none, or none that can be read.

    Tokens read from the cache, or written to it, are inside the prompt's count and reasoning tokens inside the completion's. Nothing is made
    plausible here: a nonsensical report gives nonsensical buckets, and settlement judges them.
    """
    if raw is None:
        return None
    try:
        usage = msgspec.convert(raw, _Usage)
    except msgspec.ValidationError:
        return None
    if usage.prompt_tokens is None or usage.completion_tokens is None:
        return None
    prompt = usage.prompt_tokens_details or _PromptDetails()
    cached, written = prompt.cached_tokens or 0, prompt.cache_write_tokens or 0
    reasoning = (usage.completion_tokens_details and usage.completion_tokens_details.reasoning_tokens) or 0
    return Usage(
        input_tokens=usage.prompt_tokens - cached - written,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=usage.completion_tokens - reasoning,
        reasoning_tokens=reasoning,
    )


def _error_codes(body: bytes) -> set[str | int | None]:
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return set()
    inner = error.error if isinstance(error.error, _ErrorDetails) else _ErrorDetails()
    return {error.code, error.type, inner.code, inner.type}
