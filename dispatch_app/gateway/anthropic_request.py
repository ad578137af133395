"""Anthropic's Messages as clients speak them: what comes in, checked, put into canonical words, and measured as these."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dispatch_app.execution.canonical import ClientFormat, Request
from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.fields import EndUser, OutputLimit, check_extras, check_fields, unknown_fields
from dispatch_app.gateway.images import has_tool_result_images
from dispatch_app.gateway.json_guard import measured_object
from dispatch_app.gateway.measuring import measured
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.codes import WireFeature

Fields = dict[str, Any]

_REFUSED = frozenset({"container", "inference_geo", "mcp_servers", "speed"})
"""Fields that make the vendor fetch, run or charge what a reservation does not cover."""
_SAME = ("temperature", "top_p", "top_k", "thinking")
_EFFORT = "reasoning_effort"
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})


class _Source(msgspec.Struct):
    type: Literal["base64", "url"]
    media_type: str | None = None
    data: str | None = None
    url: str | None = None


class _Block(msgspec.Struct):
    type: Literal["text", "image", "tool_use", "tool_result", "thinking", "redacted_thinking"]
    text: str | None = None
    source: _Source | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: "str | list[_Block] | None" = None
    is_error: bool | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    cache_control: dict[str, Any] | None = None


class _Turn(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str | list[_Block]


class _SystemBlock(msgspec.Struct):
    type: Literal["text"]
    text: str
    cache_control: dict[str, Any] | None = None


class _Tool(msgspec.Struct):
    name: Annotated[str, Meta(min_length=1)]
    input_schema: dict[str, Any]
    type: Literal["custom"] | None = None
    description: str | None = None
    strict: bool | None = None
    cache_control: dict[str, Any] | None = None


class _ToolChoice(msgspec.Struct):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Format(msgspec.Struct):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(msgspec.Struct):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: _Format | None = None


class _Metadata(msgspec.Struct):
    user_id: EndUser | None = None


class _MessageFields(msgspec.Struct):
    """The fields that have canonical words. What is not among them goes to vendors that speak this format as it came."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    messages: Annotated[list[_Turn], Meta(min_length=1)]
    max_tokens: OutputLimit | None = None
    system: str | list[_SystemBlock] | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=16)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    tools: Annotated[list[_Tool], Meta(max_length=512)] | None = None
    tool_choice: _ToolChoice | None = None
    thinking: dict[str, Any] | None = None
    output_config: _OutputConfig | None = None
    metadata: _Metadata | None = None


_encode = msgspec.json.Encoder().encode
_KNOWN = frozenset({*_MessageFields.__struct_fields__, "service_tier"})


def parse_message(body: bytes) -> Prompt:
    """Read a request's body.

    :raises RequestError: if it is not JSON, not a message, or asks for what is not offered.
    """
    return _read(body, least_tokens=None)


def parse_count(body: bytes) -> Prompt:
    """Read the body of a request that only wants its tokens counted, and so need not limit the output.

    :raises RequestError: if it is not JSON, not a message, or asks for what is not offered.
    """
    return _read(body, least_tokens=1)


def _read(body: bytes, *, least_tokens: int | None) -> Prompt:
    document, size = measured_object(body)
    if not _REFUSED.isdisjoint(document):
        name = next(name for name in document if name in _REFUSED)
        raise RequestError(code=ErrorCode.UNSUPPORTED_PARAMETER, param=name)
    asked = check_fields(document, _MessageFields)
    limit = asked.max_tokens or least_tokens
    if limit is None:
        raise RequestError(param="max_tokens", detail="max_tokens: Field required.")
    fields = _canonical(asked)
    if not fields["messages"]:
        raise RequestError(param="messages", detail="messages: Expected `array` of length >= 1.")
    extras = _extras(document)
    check_extras(extras)
    return measured(
        Request(
            fields=fields,
            stream=bool(asked.stream),
            choices=1,
            origin=ClientFormat.ANTHROPIC_MESSAGES,
            extras=extras,
        ),
        size=size,
        model=asked.model,
        output_tokens=limit,
        end_user="" if asked.metadata is None else asked.metadata.user_id or "",
        metadata={},
        features=frozenset(_features(asked, fields["messages"])),
    )


def _extras(document: Fields) -> Fields:
    extras = unknown_fields(document, _KNOWN)
    if settings := document.get("output_config"):
        known = _OutputConfig.__struct_fields__
        if more := {name: settings[name] for name in settings if name not in known}:
            extras["output_config"] = more
    return extras


def _features(asked: _MessageFields, messages: list[Fields]) -> Iterator[WireFeature]:
    if asked.messages[-1].role == "assistant":
        yield WireFeature.ANSWER_BEGUN
    if has_tool_result_images(messages):
        yield WireFeature.TOOL_RESULT_IMAGES


def _canonical(asked: _MessageFields) -> Fields:
    fields: Fields = {name: value for name in _SAME if (value := getattr(asked, name)) is not None}
    fields["messages"] = _messages(asked)
    if asked.stop_sequences:
        fields["stop"] = asked.stop_sequences
    if asked.tools:
        fields["tools"] = [_tool(tool) for tool in asked.tools]
        if asked.tool_choice is not None:
            fields["tool_choice"] = _tool_choice(asked.tool_choice)
            if asked.tool_choice.disable_parallel_tool_use:
                fields["parallel_tool_calls"] = False
    if asked.output_config is not None:
        fields |= _output(asked.output_config)
    return fields


def _messages(asked: _MessageFields) -> list[Fields]:
    messages: list[Fields] = []
    if isinstance(asked.system, str):
        messages.append({"role": "system", "content": asked.system})
    elif asked.system:
        parts = [_marked({"type": "text", "text": block.text}, block) for block in asked.system]
        messages.append({"role": "system", "content": parts})
    for turn in asked.messages:
        if isinstance(turn.content, str):
            messages.append({"role": turn.role, "content": turn.content})
        elif turn.role == "assistant":
            messages.append(_said_by_model(turn.content))
        else:
            messages += _said_by_user(turn.content)
    return messages


def _said_by_user(blocks: list[_Block]) -> Iterator[Fields]:
    """Results of tools are messages of their own."""
    for block in blocks:
        if block.type == "tool_result":
            result: Fields = {
                "role": "tool",
                "tool_call_id": block.tool_use_id,
                "content": _parts(block.content),
            }
            if block.is_error:
                result["is_error"] = True
            yield _marked(result, block)
    if rest := [block for block in blocks if block.type != "tool_result"]:
        yield {"role": "user", "content": _parts(rest)}


def _said_by_model(blocks: list[_Block]) -> Fields:
    texts: list[_Block] = []
    thoughts: list[Fields] = []
    calls: list[Fields] = []
    for block in blocks:
        if block.type == "text":
            texts.append(block)
        elif block.type == "tool_use":
            calls.append(_call(block))
        elif block.type in _THOUGHTS:
            thoughts.append(_thought(block))
    message: Fields = {"role": "assistant"}
    if texts:
        message["content"] = _parts(texts)
    if thoughts:
        message["thinking_blocks"] = thoughts
    if calls:
        message["tool_calls"] = calls
    return message


def _thought(block: _Block) -> Fields:
    if block.type == "redacted_thinking":
        return {"type": block.type, "data": block.data or ""}
    return {"type": block.type, "thinking": block.thinking or "", "signature": block.signature or ""}


def _call(block: _Block) -> Fields:
    arguments = _encode(block.input or {}).decode()
    call: Fields = {
        "id": block.id,
        "type": "function",
        "function": {"name": block.name, "arguments": arguments},
    }
    return _marked(call, block)


def _parts(content: str | list[_Block] | None) -> str | list[Fields]:
    """Content as a text if it is nothing but one, else as parts."""
    if content is None or isinstance(content, str):
        return content or ""
    if len(content) == 1 and content[0].type == "text" and content[0].cache_control is None:
        return content[0].text or ""
    return [_part(block) for block in content]


def _part(block: _Block) -> Fields:
    if block.type == "text":
        return _marked({"type": "text", "text": block.text or ""}, block)
    if block.type != "image" or block.source is None:
        raise RequestError(param="messages", detail=f"messages: A {block.type} block cannot stand here.")
    source = block.source
    url = source.url if source.type == "url" else f"data:{source.media_type};base64,{source.data}"
    return _marked({"type": "image_url", "image_url": {"url": url or ""}}, block)


def _marked(told: Fields, block: _Block | _SystemBlock | _Tool) -> Fields:
    return told if block.cache_control is None else told | {"cache_control": block.cache_control}


def _tool(tool: _Tool) -> Fields:
    function: Fields = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return _marked({"type": "function", "function": function}, tool)


def _tool_choice(choice: _ToolChoice) -> str | Fields:
    if choice.type == "tool":
        return {"type": "function", "function": {"name": choice.name}}
    return "required" if choice.type == "any" else choice.type


def _output(settings: _OutputConfig) -> Fields:
    told: Fields = {}
    if settings.effort is not None:
        told[_EFFORT] = settings.effort
    if settings.format is not None:
        schema = {"name": "output", "strict": True, "schema": settings.format.schema}
        told["response_format"] = {"type": "json_schema", "json_schema": schema}
    return told
