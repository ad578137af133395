"""OpenAI's Chat Completions as clients speak it: request in, reply and stream out."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dispatch_app.execution.canonical import Choice, ChunkChoice, ClientFormat, Reply, Request, StreamPart
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.errors import RequestError, render_error
from dispatch_app.gateway.fields import REFUSED_FIELDS, EndUser, Metadata, OutputLimit, check_fields
from dispatch_app.gateway.json_guard import measured_object
from dispatch_app.gateway.measuring import measured
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.codes import WireFeature
from policies_app.routing.types import Usage

# Consumed here; what a vendor is told of these is Signalbox's business.
_CONSUMED = frozenset(
    {
        "model",
        "stream",
        "stream_options",
        "user",
        "metadata",
        "store",
        "service_tier",
        "max_completion_tokens",
        "max_tokens",
    }
)


class _ImageUrl(msgspec.Struct):
    url: str


class _Part(msgspec.Struct):
    type: Literal["text", "image_url", "refusal"]
    text: str | None = None
    image_url: _ImageUrl | None = None
    refusal: str | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: dict[str, Any]


class _ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _ChatFields(msgspec.Struct):
    """The fields that are checked; what is not among them goes to the vendor as it came."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: Annotated[list[_Message], Meta(min_length=1)]
    n: Annotated[int, Meta(ge=1, le=128)] | None = None
    max_tokens: OutputLimit | None = None
    max_completion_tokens: OutputLimit | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    seed: Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    tools: Annotated[list[_Tool], Meta(max_length=512)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[dict[str, Any]], Meta(max_length=512)] | None = None
    response_format: _ResponseFormat | None = None
    reasoning_effort: str | None = None
    modalities: list[Literal["text"]] | None = None
    logit_bias: dict[str, float] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    user: EndUser | None = None
    metadata: Metadata | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int
    cache_write_tokens: int


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _PromptDetails
    completion_tokens_details: _CompletionDetails


class _Completion(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[Choice]
    usage: _Usage | None
    object: str = "chat.completion"
    dispatch: Any = UNSET


class _Chunk(msgspec.Struct):
    id: str
    created: int
    model: str
    choices: list[ChunkChoice]
    object: str = "chat.completion.chunk"
    usage: _Usage | UnsetType | None = UNSET
    dispatch: Any = UNSET


_CHECKED = frozenset(_ChatFields.__struct_fields__)
_encode = msgspec.json.Encoder().encode


def parse_chat(body: bytes) -> Prompt:
    """Read a request's body.

    :raises RequestError: if it is not JSON, not a chat request, or asks for what is not offered.
    """
    document, size = measured_object(body)
    return read_chat(document, size=size)


def read_chat(document: Mapping[str, Any], *, size: int) -> Prompt:
    """Read a chat request from its fields, whose JSON is `size` bytes long.

    :raises RequestError: if it is not a chat request, or asks for what is not offered.
    """
    chat = check_fields(document, _ChatFields)
    for name in document:
        if name not in _CHECKED and REFUSED_FIELDS.fullmatch(name):
            raise RequestError(code=ErrorCode.UNSUPPORTED_PARAMETER, param=name)
    request = Request(
        fields={name: document[name] for name in document if name not in _CONSUMED},
        stream=bool(chat.stream),
        choices=chat.n or 1,
        limit_field=_limit_field(chat),
    )
    return measured(
        request,
        size=size,
        model=chat.model,
        output_tokens=chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens,
        end_user=chat.user or "",
        metadata=chat.metadata or {},
        features=frozenset(_features(chat)),
        includes_usage=chat.stream_options is not None and bool(chat.stream_options.include_usage),
    )


def render_reply(
    *,
    reply: Reply,
    dispatch_id: str,
    created: int,
    model: str,
    usage: Usage | None,
    details: Any,
    prompt: Prompt,
) -> bytes:
    """The body of a plain answer. `details` becomes its `dispatch` object, None leaves that out."""
    return _encode(
        _Completion(
            id=f"chatcmpl-{dispatch_id}",
            created=created,
            model=model,
            choices=reply.choices,
            usage=None if usage is None else _usage_of(usage),
            dispatch=UNSET if details is None else details,
        )
    )


class ChatStream:
    """Renders the events of one stream. A usage event, and a null in the others, is for clients that asked for one."""

    def __init__(self, *, dispatch_id: UUID, created: int, prompt: Prompt) -> None:
        self._id = f"chatcmpl-{dispatch_id.hex}"
        self._created = created
        self._includes_usage = prompt.includes_usage

    def part(self, part: StreamPart, *, model: str) -> bytes:
        """One step of the reply."""
        return self._event(
            _Chunk(
                id=self._id,
                created=self._created,
                model=model,
                choices=part.choices,
                usage=None if self._includes_usage else UNSET,
            )
        )

    def end(self, *, model: str, usage: Usage | None, details: Any, is_verbose: bool) -> bytes:
        """What completes the stream: the usage event, with `details` as its `dispatch` object, and the end mark."""
        if not self._includes_usage and not is_verbose:
            return b"data: [DONE]\n\n"
        chunk = _Chunk(id=self._id, created=self._created, model=model, choices=[], dispatch=details)
        if self._includes_usage:
            chunk.usage = None if usage is None else _usage_of(usage)
        return self._event(chunk) + b"data: [DONE]\n\n"

    def error(self, error: DispatchError) -> bytes:
        """The event that ends a stream which broke off; no end mark follows it."""
        return b"data: %b\n\n" % render_error(error)

    @staticmethod
    def _event(chunk: _Chunk) -> bytes:
        return b"data: %b\n\n" % _encode(chunk)


def _features(chat: _ChatFields) -> Iterator[WireFeature]:
    """Those that only this format of clients has words for."""
    if chat.n is not None and chat.n > 1:
        yield WireFeature.MULTIPLE_CHOICES
    if chat.logprobs:
        yield WireFeature.LOGPROBS
    if chat.logit_bias:
        yield WireFeature.LOGIT_BIAS
    if chat.seed is not None:
        yield WireFeature.SEED
    if chat.presence_penalty or chat.frequency_penalty:
        yield WireFeature.PENALTIES
    if chat.functions or "function" in [message.role for message in chat.messages]:
        yield WireFeature.LEGACY_FUNCTIONS


def _limit_field(chat: _ChatFields) -> str | None:
    """The name under which the caller told how much it wants at most; the newer one stands before the older."""
    if chat.max_completion_tokens is not None:
        return "max_completion_tokens"
    return None if chat.max_tokens is None else "max_tokens"


def _usage_of(usage: Usage) -> _Usage:
    """OpenAI counts tokens read from a cache or written to it in the prompt, and reasoning tokens in the completion."""
    prompt_tokens = usage.input_tokens + usage.cached_input_tokens + usage.cache_write_tokens
    completion_tokens = usage.output_tokens + usage.reasoning_tokens
    return _Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        prompt_tokens_details=_PromptDetails(
            cached_tokens=usage.cached_input_tokens, cache_write_tokens=usage.cache_write_tokens
        ),
        completion_tokens_details=_CompletionDetails(reasoning_tokens=usage.reasoning_tokens),
    )


def _render_error(error: DispatchError, *, dispatch_id: UUID) -> bytes:
    """OpenAI tells the id of a request in a header only."""
    return render_error(error)


OPENAI_CHAT = ClientHalf(
    name=ClientFormat.OPENAI_CHAT,
    parse=parse_chat,
    render_reply=render_reply,
    render_stream=ChatStream,
    render_error=_render_error,
    heartbeat=b": still at it\n\n",
    request_id_header=b"x-request-id",
)
