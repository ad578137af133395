"""OpenAI's Chat Completions as clients speak it: request in, reply and stream out."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from dispatch_app.execution.canonical import Choice, ChunkChoice, ClientFormat, Reply, Request, StreamPart
from dispatch_app.execution.errors import DispatchError, ErrorCode
from dispatch_app.gateway.client_half import ClientHalf
from dispatch_app.gateway.errors import RequestError, render_error
from dispatch_app.gateway.fields import check_fields
from dispatch_app.gateway.json_guard import parse_object
from dispatch_app.gateway.prompt import Prompt, Translated
from policies_app.routing.codes import Capability, WireFeature
from policies_app.routing.types import Usage

# What one message, and a request with tools or a schema, can add in tokens to the bytes that the caller sent.
FRAMING_TOKENS_OF_A_MESSAGE = 16
FRAMING_TOKENS_OF_TOOLS = 1_024
BYTES_OF_A_TOKEN = 4
TOKENS_OF_AN_IMAGE = 800

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
# Where a request goes, with which credentials and headers, and what it costs is never the caller's to say; nor is
# anything that makes a vendor generate or fetch more than the reservation covers.
REFUSED_FIELDS = re.compile(
    r"api_.*|.*_api_key|.*_url|base_url|url|proxy|proxies|organization|custom_llm_provider|model_list|models|route"
    r"|provider|transforms|plugins|fallbacks|(extra_|default_)?(headers|query|body)|.*(cost|price|pricing).*"
    r"|best_of|use_beam_search|prediction|web_search_options|audio|background|previous_response_id|num_retries|mock_.*"
    r"|max_output_tokens|max_new_tokens|max_tokens_to_sample|max_length|num_predict|chat_template|mm_processor_kwargs"
)
_MULTIPLYING = frozenset({"n", "max_tokens", "max_completion_tokens"})
"""What bounds the money, by OpenAI's names. In another format these say nothing; a server that took them would bill them."""
_DATA_OF_NO_IMAGE = re.compile(r"\s*data:(?!image/)", re.IGNORECASE)

_FEATURES_OF_FORM = {"json_object": WireFeature.JSON_OBJECT, "json_schema": WireFeature.JSON_SCHEMA}

EndUser = Annotated[str, Meta(max_length=255)]
Metadata = Annotated[
    dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]], Meta(max_length=16)
]
_OutputLimit = Annotated[int, Meta(ge=1, le=10_000_000)]


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
    max_tokens: _OutputLimit | None = None
    max_completion_tokens: _OutputLimit | None = None
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
    return read_prompt(parse_object(body), size=len(body))


def read_prompt(document: dict[str, Any], *, size: int, translated: Translated | None = None) -> Prompt:
    """Read a chat request from its fields, whose JSON is `size` bytes long, and which may be translated from another format.

    :raises RequestError: if it is not a chat request, or asks for what is not offered.
    """
    chat = check_fields(document, _ChatFields)
    extras = {} if translated is None else translated.extras
    for name in (*document, *extras):
        is_foreign = name in extras and name in _MULTIPLYING
        if is_foreign or (name not in _CHECKED and REFUSED_FIELDS.fullmatch(name)):
            raise RequestError(code=ErrorCode.UNSUPPORTED_PARAMETER, param=name)
    images, image_bytes, text_bytes = _measure(chat.messages)
    limit_field = _limit_field(chat)
    features = frozenset(_features(chat, images=images))
    return Prompt(
        model=chat.model,
        request=Request(
            fields={name: document[name] for name in document if name not in _CONSUMED},
            stream=bool(chat.stream),
            choices=chat.n or 1,
            limit_field=limit_field if translated is None else None,
            origin=ClientFormat.OPENAI_CHAT if translated is None else translated.origin,
            extras=extras,
        ),
        input_tokens=_estimate(chat, text_bytes=text_bytes, images=images),
        input_tokens_bound=_bound(chat, size=size - image_bytes),
        images=images,
        output_tokens=chat.max_tokens if chat.max_completion_tokens is None else chat.max_completion_tokens,
        needs=frozenset(_needs(chat, images=images)),
        features=features if translated is None else features | translated.features,
        end_user=chat.user or "",
        metadata=chat.metadata or {},
        includes_usage=translated is not None or _wants_usage(chat.stream_options),
        echo={} if translated is None else translated.echo,
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


def _measure(messages: list[_Message]) -> tuple[int, int, int]:
    """How many images there are, the bytes of their addresses, and the bytes of text."""
    images = image_bytes = text_bytes = 0
    for message in messages:
        content = message.content
        if isinstance(content, str):
            text_bytes += len(content) if content.isascii() else len(content.encode())
        for part in content if isinstance(content, list) else ():
            images += part.type == "image_url" or part.image_url is not None
            image_bytes += 0 if part.image_url is None else _image_bytes(part.image_url)
            text_bytes += len((part.text or part.refusal or "").encode())
    return images, image_bytes, text_bytes


def _image_bytes(image: _ImageUrl) -> int:
    """The bytes of an image's address, which are no tokens; those of a document or a video would be."""
    if _DATA_OF_NO_IMAGE.match(image.url):
        raise RequestError(param="messages", detail="messages: The data of an image_url has to be an image.")
    return len(image.url)


def _estimate(chat: _ChatFields, *, text_bytes: int, images: int) -> int:
    tools_bytes = len(_encode(chat.tools)) if chat.tools else 0
    return (
        (text_bytes + tools_bytes) // BYTES_OF_A_TOKEN
        + BYTES_OF_A_TOKEN * len(chat.messages)
        + TOKENS_OF_AN_IMAGE * images
    )


def _bound(chat: _ChatFields, *, size: int) -> int:
    """No token is shorter than a byte, and escaping only makes text longer, so the body's size bounds its tokens."""
    has_tools = chat.tools is not None or chat.functions is not None or chat.response_format is not None
    return (
        size
        + FRAMING_TOKENS_OF_A_MESSAGE * len(chat.messages)
        + (FRAMING_TOKENS_OF_TOOLS if has_tools else 0)
    )


def _limit_field(chat: _ChatFields) -> str | None:
    """The name under which the caller told how much it wants at most; the newer one stands before the older."""
    if chat.max_completion_tokens is not None:
        return "max_completion_tokens"
    return None if chat.max_tokens is None else "max_tokens"


def _wants_usage(options: _StreamOptions | None) -> bool:
    return options is not None and bool(options.include_usage)


def _needs(chat: _ChatFields, *, images: int) -> Iterator[Capability]:
    if chat.tools or chat.functions:
        yield Capability.TOOLS
    if chat.response_format is not None and chat.response_format.type == "json_schema":
        yield Capability.JSON_SCHEMA
    if images:
        yield Capability.VISION
    if chat.stream:
        yield Capability.STREAMING
    if chat.logprobs:
        yield Capability.LOGPROBS


def _features(chat: _ChatFields, *, images: int) -> Iterator[WireFeature]:
    yield from _features_of_sampling(chat)
    if chat.response_format is not None and chat.response_format.type in _FEATURES_OF_FORM:
        yield _FEATURES_OF_FORM[chat.response_format.type]
    if images and _has_image_urls(chat.messages):
        yield WireFeature.IMAGE_URLS
    if chat.parallel_tool_calls is False and chat.tools:
        yield WireFeature.SINGLE_TOOL_CALL
    if chat.functions or "function" in [message.role for message in chat.messages]:
        yield WireFeature.LEGACY_FUNCTIONS


def _features_of_sampling(chat: _ChatFields) -> Iterator[WireFeature]:
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
    if chat.temperature is not None and chat.temperature > 1:
        yield WireFeature.TEMPERATURE_ABOVE_ONE


def _has_image_urls(messages: list[_Message]) -> bool:
    """Whether an image is named by where it is, and not given as data."""
    return any(
        part.image_url is not None and part.image_url.url.lstrip()[:5].lower() != "data:"
        for message in messages
        if isinstance(message.content, list)
        for part in message.content
    )


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
