"""Converse's requests, checked as Bedrock checks them, and what the models make of them."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal
from urllib.parse import unquote

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

_PATH = re.compile(r"/model/[^/]+/(converse|converse-stream)")
_VERSION = re.compile(r":\d+$")
_SIGNS = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF"}

_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
_CallId = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.:-]{1,64}$")]
_Share = Annotated[float, Meta(ge=0, le=1)]
_NonEmpty = Annotated[str, Meta(min_length=1)]


class _CachePoint(msgspec.Struct):
    type: Literal["default"]


class _ImageSource(msgspec.Struct):
    bytes: bytes


class _Image(msgspec.Struct):
    format: Literal["png", "jpeg", "gif", "webp"]
    source: _ImageSource


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: _CallId
    name: _Name
    input: dict[str, Any]


class _ReasoningText(msgspec.Struct):
    text: str
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: bytes | None = None


class _ResultBlock(msgspec.Struct):
    text: str | None = None
    json: Any = None
    image: _Image | None = None


class _ToolResult(msgspec.Struct, rename="camel"):
    tool_use_id: _CallId
    content: list[_ResultBlock]
    status: Literal["success", "error"] | None = None


class _Block(msgspec.Struct, rename="camel"):
    text: str | None = None
    image: _Image | None = None
    tool_use: _ToolUse | None = None
    tool_result: _ToolResult | None = None
    reasoning_content: _Reasoning | None = None
    cache_point: _CachePoint | None = None


class _Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: Annotated[list[_Block], Meta(min_length=1)]


class _SystemBlock(msgspec.Struct, rename="camel"):
    text: _NonEmpty | None = None
    cache_point: _CachePoint | None = None


class _Inference(msgspec.Struct, rename="camel"):
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    temperature: _Share | None = None
    top_p: _Share | None = None
    stop_sequences: Annotated[list[_NonEmpty], Meta(max_length=2500)] | None = None


class _InputSchema(msgspec.Struct):
    json: dict[str, Any]


class _ToolSpec(msgspec.Struct, rename="camel"):
    name: _Name
    input_schema: _InputSchema
    description: _NonEmpty | None = None
    strict: bool | None = None


class _Tool(msgspec.Struct, rename="camel"):
    tool_spec: _ToolSpec | None = None
    cache_point: _CachePoint | None = None


class _NamedChoice(msgspec.Struct):
    name: _Name


class _ToolChoice(msgspec.Struct):
    auto: dict[str, Any] | None = None
    any: dict[str, Any] | None = None
    tool: _NamedChoice | None = None


class _ToolConfig(msgspec.Struct, rename="camel"):
    tools: Annotated[list[_Tool], Meta(min_length=1)]
    tool_choice: _ToolChoice | None = None


class _SchemaText(msgspec.Struct):
    schema: str
    name: str = "output"


class _Structure(msgspec.Struct, rename="camel"):
    json_schema: _SchemaText


class _TextFormat(msgspec.Struct):
    type: Literal["json_schema"]
    structure: _Structure


class _OutputConfig(msgspec.Struct, rename="camel"):
    text_format: _TextFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class _Thinking(msgspec.Struct):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Annotated[int, Meta(ge=1024)] | None = None


class _OwnFields(msgspec.Struct):
    thinking: _Thinking | None = None
    reasoning_effort: Literal["low", "medium", "high"] | None = None


class _Converse(msgspec.Struct, rename="camel"):
    messages: Annotated[list[_Turn], Meta(min_length=1)]
    system: list[_SystemBlock] = []
    inference_config: _Inference = msgspec.field(default_factory=_Inference)
    tool_config: _ToolConfig | None = None
    additional_model_request_fields: _OwnFields = msgspec.field(default_factory=_OwnFields)
    output_config: _OutputConfig = msgspec.field(default_factory=_OutputConfig)


_decode = msgspec.json.Decoder(_Converse).decode


def is_converse(request: HttpRequest) -> bool:
    """Whether a request is one of Bedrock's."""
    return request.head.method == "POST" and _PATH.fullmatch(request.path) is not None


def read_chat(request: HttpRequest) -> ChatRequest:
    """Read a request that `is_converse`.

    :raises ApiError: if it is not JSON, or Bedrock would refuse it.
    """
    try:
        converse = _decode(request.body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise _invalid(f"Malformed input request: {error}") from error
    _check(converse)
    _, _, model, operation = request.path.split("/")
    return ChatRequest(
        model=_model_name(model),
        stream=operation == "converse-stream",
        stream_options=StreamOptions(include_usage=True),
        messages=tuple(_messages(converse)),
        stop=tuple(converse.inference_config.stop_sequences or ()),
        max_completion_tokens=converse.inference_config.max_tokens,
        tools=_tools(converse.tool_config),
        tool_choice=_tool_choice(converse.tool_config),
        response_format=_response_format(converse.output_config.text_format),
        reasoning_effort=_effort(converse),
    )


def caches_prompt(request: HttpRequest) -> bool:
    """Whether a prefix of the prompt is marked to be cached; without a mark, none is."""
    return b'"cachePoint"' in request.body


def _model_name(escaped: str) -> str:
    """The name of a model within its id, or within the ARN of an inference profile."""
    return _VERSION.sub("", unquote(escaped)).rpartition("/")[2].removeprefix("us.")


def _messages(converse: _Converse) -> Iterator[Message]:
    system = [ContentPart(type="text", text=block.text) for block in converse.system if block.text]
    if system:
        yield Message(role="system", content=tuple(system))
    for turn in converse.messages:
        yield from _results(turn.content)
        if any(block.tool_result is None for block in turn.content):
            yield Message(role=turn.role, content=_parts(turn.content), tool_calls=_calls(turn.content))


def _results(blocks: Sequence[_Block]) -> Iterator[Message]:
    for block in blocks:
        if block.tool_result is not None:
            yield Message(role="tool", content=tuple(_result_parts(block.tool_result.content)))


def _result_parts(blocks: Sequence[_ResultBlock]) -> Iterator[ContentPart]:
    for block in blocks:
        if block.image is not None:
            yield ContentPart(type="image_url")
        else:
            text = msgspec.json.encode(block.json).decode() if block.text is None else block.text
            yield ContentPart(type="text", text=text)


def _parts(blocks: Sequence[_Block]) -> tuple[ContentPart, ...]:
    return tuple(
        ContentPart(type="text", text=block.text) if block.text is not None else ContentPart(type="image_url")
        for block in blocks
        if block.text is not None or block.image is not None
    )


def _calls(blocks: Sequence[_Block]) -> tuple[MessageToolCall, ...]:
    return tuple(
        MessageToolCall(
            id=use.tool_use_id,
            function=FunctionCall(name=use.name, arguments=msgspec.json.encode(use.input).decode()),
        )
        for block in blocks
        if (use := block.tool_use) is not None
    )


def _tools(config: _ToolConfig | None) -> tuple[Tool, ...]:
    specs = [tool.tool_spec for tool in config.tools if tool.tool_spec] if config else []
    return tuple(
        Tool(
            function=Function(
                name=spec.name, description=spec.description or "", parameters=spec.input_schema.json
            )
        )
        for spec in specs
    )


def _tool_choice(config: _ToolConfig | None) -> Literal["auto", "required"] | NamedTool:
    choice = None if config is None else config.tool_choice
    if choice is None:
        return "auto"
    if choice.tool is not None:
        return NamedTool(function=NamedFunction(name=choice.tool.name))
    return "auto" if choice.any is None else "required"


def _response_format(wanted: _TextFormat | None) -> ResponseFormat | None:
    if wanted is None:
        return None
    told = wanted.structure.json_schema
    try:
        schema = msgspec.json.decode(told.schema, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise _invalid("The JSON schema is not valid JSON.") from error
    return ResponseFormat(type="json_schema", json_schema=JsonSchema(name=told.name, schema=schema))


def _effort(converse: _Converse) -> str | None:
    own = converse.additional_model_request_fields
    if own.thinking is None or own.thinking.type == "disabled":
        return own.reasoning_effort
    effort = converse.output_config.effort or "medium"
    return "xhigh" if effort == "max" else effort


def _check(converse: _Converse) -> None:
    _check_turns(converse.messages)
    _check_calls(converse)
    for turn in converse.messages:
        for block in turn.content:
            _check_block(block)


def _check_turns(turns: Sequence[_Turn]) -> None:
    if turns[0].role != "user":
        raise _invalid("A conversation must start with a user message.")
    if any(earlier.role == later.role for earlier, later in pairwise(turns)):
        raise _invalid("A conversation must alternate between user and assistant roles.")


def _check_calls(converse: _Converse) -> None:
    blocks = [block for turn in converse.messages for block in turn.content]
    if converse.tool_config is None and any(block.tool_use or block.tool_result for block in blocks):
        raise _invalid(
            "The toolConfig field must be defined when using toolUse and toolResult content blocks."
        )
    for turn, following in pairwise([*converse.messages, _Turn(role="user", content=[])]):
        called = {block.tool_use.tool_use_id for block in turn.content if block.tool_use}
        answered = {block.tool_result.tool_use_id for block in following.content if block.tool_result}
        if called != answered:
            raise _invalid("Expected toolResult blocks for exactly the toolUse blocks of the previous turn.")


def _check_block(block: _Block) -> None:
    said = sum(getattr(block, name) is not None for name in block.__struct_fields__)
    if said != 1:
        raise _invalid("A content block must hold exactly one member.")
    if block.text is not None and not block.text.strip():
        raise _invalid("The text field in the ContentBlock object is blank. Add text to the text field.")
    if block.image is not None and not block.image.source.bytes.startswith(_SIGNS[block.image.format]):
        raise _invalid("Could not process image.")
    if block.reasoning_content is not None:
        _check_thought(block.reasoning_content)


def _check_thought(thought: _Reasoning) -> None:
    told = thought.reasoning_text
    if told is not None and not is_signed(told.text, told.signature or ""):
        raise _invalid("Invalid `signature` in `thinking` block.")


def _invalid(message: str) -> ApiError:
    return ApiError(status=400, message=message, code="ValidationException")
