"""Anthropic's requests, checked as Anthropic checks them, and what the models make of them."""

import hmac
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sandbox.chat import (
    ChatRequest,
    ContentPart,
    Function,
    FunctionCall,
    JsonSchema,
    Message,
    MessageToolCall,
    NamedFunction,
    NamedTool,
    ResponseFormat,
    StreamOptions,
    Tool,
)
from sandbox.errors import ApiError
from sandbox.thoughts import is_signed
from sandbox.wire import HttpRequest

LEAST_BUDGET_TOKENS = 1_024

_CallId = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]+$")]
_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
_NonEmpty = Annotated[str, Meta(min_length=1)]
_Share = Annotated[float, Meta(ge=0, le=1)]


class _CacheControl(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class _Marked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    cache_control: _CacheControl | None = None


class _Base64(msgspec.Struct, tag_field="type", tag="base64", forbid_unknown_fields=True):
    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: _NonEmpty


class _Url(msgspec.Struct, tag_field="type", tag="url", forbid_unknown_fields=True):
    url: Annotated[str, Meta(pattern="^https://")]


class _Text(_Marked, tag_field="type", tag="text"):
    text: _NonEmpty
    citations: list[Any] | None = None
    parsed_output: Any = None


class _Image(_Marked, tag_field="type", tag="image"):
    source: _Base64 | _Url


class _ToolUse(_Marked, tag_field="type", tag="tool_use"):
    id: _CallId
    name: _Name
    input: dict[str, Any]
    caller: Any = None


class _ToolResult(_Marked, tag_field="type", tag="tool_result"):
    tool_use_id: _CallId
    content: str | list[_Text | _Image] = ""
    is_error: bool | None = None


class _Thinking(msgspec.Struct, tag_field="type", tag="thinking", forbid_unknown_fields=True):
    thinking: str
    signature: str


class _Redacted(msgspec.Struct, tag_field="type", tag="redacted_thinking", forbid_unknown_fields=True):
    data: str


_Block = _Text | _Image | _ToolUse | _ToolResult | _Thinking | _Redacted


class _Turn(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: _NonEmpty | Annotated[list[_Block], Meta(min_length=1)]

    @property
    def blocks(self) -> Sequence[_Block]:
        return [_Text(text=self.content)] if isinstance(self.content, str) else self.content


class _Tool(_Marked):
    name: _Name
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str = ""
    strict: bool | None = None


class _ToolChoice(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: _Name | None = None
    disable_parallel_tool_use: bool | None = None


class _ThinkingConfig(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Annotated[int, Meta(ge=LEAST_BUDGET_TOKENS)] | None = None
    display: str | None = None


class _Format(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(msgspec.Struct, forbid_unknown_fields=True):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct, forbid_unknown_fields=True):
    user_id: str | None = None


class _MessageRequest(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    messages: Annotated[list[_Turn], Meta(min_length=1)]
    max_tokens: Annotated[int, Meta(ge=1)]
    system: str | list[_Text] = ""
    stream: bool = False
    stop_sequences: list[_NonEmpty] = []
    temperature: _Share | None = None
    top_p: _Share | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    tools: list[_Tool] = []
    tool_choice: _ToolChoice | None = None
    thinking: _ThinkingConfig | None = None
    output_config: _OutputConfig = msgspec.field(default_factory=_OutputConfig)
    metadata: _Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    context_management: dict[str, Any] | None = None


_decode = msgspec.json.Decoder(_MessageRequest).decode


def is_message(request: HttpRequest) -> bool:
    """Whether a request is one of Anthropic's."""
    return request.head.method == "POST" and request.path == "/v1/messages"


def authenticate(request: HttpRequest, *, api_key: str | None) -> None:
    """Check the key, in a header of its own or as a bearer token, and the version; with None, any key will do.

    :raises ApiError: if there is none, or it is not the right one, or the version is missing.
    """
    bearer = (request.head.header("authorization") or "").removeprefix("Bearer ")
    key = request.head.header("x-api-key") or bearer
    if not key or (api_key is not None and not hmac.compare_digest(key.encode(), api_key.encode())):
        raise ApiError(status=401, message="invalid x-api-key")
    if not request.head.header("anthropic-version"):
        raise _invalid("anthropic-version: header is required")


def read_chat(request: HttpRequest) -> ChatRequest:
    """Read a request that `is_message`.

    :raises ApiError: if it is not JSON, or Anthropic would refuse it.
    """
    try:
        asked = _decode(request.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _invalid(str(error)) from error
    _check(asked)
    return ChatRequest(
        model=asked.model,
        stream=asked.stream,
        stream_options=StreamOptions(include_usage=True),
        messages=tuple(_messages(asked)),
        stop=tuple(asked.stop_sequences),
        max_completion_tokens=asked.max_tokens,
        tools=tuple(
            Tool(
                function=Function(name=tool.name, description=tool.description, parameters=tool.input_schema)
            )
            for tool in asked.tools
        ),
        tool_choice=_tool_choice(asked.tool_choice),
        response_format=_response_format(asked.output_config.format),
        reasoning_effort=_effort(asked),
    )


def caches_prompt(request: HttpRequest) -> bool:
    """Whether a prefix of the prompt is marked to be cached; without a mark, none is."""
    return b'"cache_control"' in request.body


def _messages(asked: _MessageRequest) -> Iterator[Message]:
    if isinstance(asked.system, str):
        system = [ContentPart(type="text", text=asked.system)] if asked.system else []
    else:
        system = [ContentPart(type="text", text=block.text) for block in asked.system]
    if system:
        yield Message(role="system", content=tuple(system))
    for turn in asked.messages:
        yield from (_result(block) for block in turn.blocks if isinstance(block, _ToolResult))
        if not all(isinstance(block, _ToolResult) for block in turn.blocks):
            yield Message(role=turn.role, content=_parts(turn.blocks), tool_calls=_calls(turn.blocks))


def _result(block: _ToolResult) -> Message:
    if isinstance(block.content, str):
        return Message(role="tool", content=block.content)
    return Message(role="tool", content=_parts(block.content))


def _parts(blocks: Sequence[_Block]) -> tuple[ContentPart, ...]:
    return tuple(
        ContentPart(type="text", text=block.text)
        if isinstance(block, _Text)
        else ContentPart(type="image_url")
        for block in blocks
        if isinstance(block, _Text | _Image)
    )


def _calls(blocks: Sequence[_Block]) -> tuple[MessageToolCall, ...]:
    return tuple(
        MessageToolCall(
            id=block.id,
            function=FunctionCall(name=block.name, arguments=msgspec.json.encode(block.input).decode()),
        )
        for block in blocks
        if isinstance(block, _ToolUse)
    )


def _tool_choice(choice: _ToolChoice | None) -> Literal["none", "auto", "required"] | NamedTool:
    match choice:
        case None:
            return "auto"
        case _ToolChoice(type="tool", name=str(name)):
            return NamedTool(function=NamedFunction(name=name))
        case _ToolChoice(type="any"):
            return "required"
        case _:
            return "none" if choice.type == "none" else "auto"


def _response_format(wanted: _Format | None) -> ResponseFormat | None:
    if wanted is None:
        return None
    return ResponseFormat(type="json_schema", json_schema=JsonSchema(name="output", schema=wanted.schema))


def _effort(asked: _MessageRequest) -> str | None:
    """Without thinking, nothing is thought, whatever the effort."""
    if asked.thinking is None or asked.thinking.type == "disabled":
        return None
    effort = asked.output_config.effort or "medium"
    return "xhigh" if effort == "max" else effort


def _check(asked: _MessageRequest) -> None:
    for turn in asked.messages:
        for block in turn.blocks:
            if isinstance(block, _Thinking) and not is_signed(block.thinking, block.signature):
                raise _invalid("Invalid `signature` in `thinking` block")
    budget = None if asked.thinking is None else asked.thinking.budget_tokens
    if budget is not None and budget >= asked.max_tokens:
        raise _invalid("`max_tokens` must be greater than `thinking.budget_tokens`")
    if asked.tool_choice is not None and not asked.tools:
        raise _invalid("tool_choice: may only be specified while providing tools")
    _check_calls(asked.messages)


def _check_calls(turns: Sequence[_Turn]) -> None:
    for turn, following in pairwise([*turns, _Turn(role="user", content=[])]):
        called = {block.id for block in turn.blocks if isinstance(block, _ToolUse)}
        answered = {block.tool_use_id for block in following.blocks if isinstance(block, _ToolResult)}
        if called != answered:
            raise _invalid("each `tool_use` must have a single result in the next message, and no other")


def _invalid(message: str) -> ApiError:
    return ApiError(status=400, message=message)
