"""OpenAI's Responses as clients speak them: what comes in, checked, put into canonical words, and measured as these.

The stateless part of it: what was said before comes with each request, and nothing is kept for the next.
"""

from base64 import b64decode
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from dispatch_app.execution.canonical import ClientFormat, Request
from dispatch_app.execution.errors import ErrorCode
from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.fields import (
    EndUser,
    Metadata,
    OutputLimit,
    check_extras,
    check_fields,
    unknown_fields,
)
from dispatch_app.gateway.images import has_tool_result_images
from dispatch_app.gateway.json_guard import measured_object
from dispatch_app.gateway.measuring import measured
from dispatch_app.gateway.prompt import Prompt
from policies_app.routing.codes import WireFeature

Fields = dict[str, Any]

_REFUSED = frozenset(
    {"background", "context_management", "conversation", "max_tool_calls", "previous_response_id", "prompt"}
)
"""Fields that lean on what would have to be kept here, or let a vendor do more than a reservation covers."""
_BY_THE_MODEL = frozenset({"reasoning", "function_call"})
_TEXTS = frozenset({"input_text", "output_text", "text"})
_INCLUDED = frozenset({"reasoning.encrypted_content"})
_SAME = ("temperature", "top_p", "parallel_tool_calls")
"""Fields that are called the same in canonical words. A number stays as it was written."""
_ECHOED = frozenset(
    {
        "instructions",
        "max_output_tokens",
        "metadata",
        "parallel_tool_calls",
        "reasoning",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
"""Fields that the answer repeats."""


class _Part(msgspec.Struct):
    type: Literal["input_text", "output_text", "input_image", "refusal", "text"]
    text: str | None = None
    image_url: str | None = None
    refusal: str | None = None


class _Summary(msgspec.Struct):
    text: str = ""


class _Item(msgspec.Struct):
    type: Literal["message", "function_call", "function_call_output", "reasoning"] = "message"
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | list[_Part] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[_Part] | None = None
    encrypted_content: str | None = None
    summary: tuple[_Summary, ...] = ()


class _Tool(msgspec.Struct):
    type: Literal["function"]
    name: Annotated[str, Meta(min_length=1)]
    parameters: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class _NamedTool(msgspec.Struct):
    type: Literal["function"]
    name: str


class _Format(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class _Text(msgspec.Struct):
    format: _Format = msgspec.field(default_factory=_Format)
    verbosity: Literal["low", "medium", "high"] | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _ResponseFields(msgspec.Struct):
    """The fields that have canonical words."""

    model: Annotated[str, Meta(min_length=1, max_length=200)]
    input: Annotated[str, Meta(min_length=1)] | Annotated[list[_Item], Meta(min_length=1)]
    instructions: str | None = None
    max_output_tokens: OutputLimit | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    parallel_tool_calls: bool | None = None
    stream: bool | None = None
    user: EndUser | None = None
    metadata: Metadata | None = None
    tools: Annotated[list[_Tool], Meta(max_length=512)] | None = None
    tool_choice: Literal["none", "auto", "required"] | _NamedTool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    include: list[str] | None = None
    store: bool | None = None
    truncation: Literal["disabled"] | None = None


_TOOL_RESULT_IMAGES = frozenset({WireFeature.TOOL_RESULT_IMAGES})
_KNOWN = frozenset({*_ResponseFields.__struct_fields__, *_REFUSED, "service_tier", "stream_options"})


def parse_response(body: bytes) -> Prompt:
    """Read a request's body.

    :raises RequestError: if it is not JSON, not a request for a response, or asks for what is not offered.
    """
    document, size = measured_object(body)
    asked = _check(document)
    fields = _canonical(asked, document)
    extras = {name: value for name, value in unknown_fields(document, _KNOWN).items() if value}
    check_extras(extras)
    return measured(
        Request(
            fields=fields,
            stream=bool(asked.stream),
            choices=1,
            origin=ClientFormat.OPENAI_RESPONSES,
            extras=extras,
        ),
        size=size,
        model=asked.model,
        output_tokens=asked.max_output_tokens,
        end_user=asked.user or "",
        metadata=asked.metadata or {},
        features=_TOOL_RESULT_IMAGES if has_tool_result_images(fields["messages"]) else frozenset(),
        echo={name: value for name, value in document.items() if name in _ECHOED and value is not None},
    )


def _check(document: Fields) -> _ResponseFields:
    if not _REFUSED.isdisjoint(document):
        for name, value in document.items():
            if name in _REFUSED and value not in (None, False):
                raise RequestError(code=ErrorCode.UNSUPPORTED_PARAMETER, param=name)
    asked = check_fields(document, _ResponseFields)
    if asked.text is not None:
        _check_form(asked.text.format)
    if asked.store:
        raise RequestError(param="store", detail="store: Nothing is kept here. Send false, or leave it out.")
    if not _INCLUDED.issuperset(asked.include or ()):
        raise RequestError(param="include", detail="include: Only reasoning.encrypted_content is offered.")
    return asked


def _check_form(wanted: _Format) -> None:
    """A form is repeated in the answer, whose types have no form without these."""
    for name in ("name", "schema"):
        if wanted.type == "json_schema" and getattr(wanted, name) is None:
            param = f"text.format.{name}"
            raise RequestError(param=param, detail=f"{param}: Field required.")


def _canonical(asked: _ResponseFields, document: Fields) -> Fields:
    fields: Fields = {name: value for name in _SAME if (value := document.get(name)) is not None}
    fields["messages"] = _messages(asked)
    if asked.tools:
        fields["tools"] = [_tool(tool) for tool in asked.tools]
        if asked.tool_choice is not None:
            fields["tool_choice"] = _tool_choice(asked.tool_choice)
    if asked.text is not None and asked.text.format.type != "text":
        fields["response_format"] = _form(asked.text.format)
    if asked.text is not None and asked.text.verbosity is not None:
        fields["verbosity"] = asked.text.verbosity
    if asked.reasoning is not None and asked.reasoning.effort is not None:
        fields["reasoning_effort"] = asked.reasoning.effort
    return fields


def _messages(asked: _ResponseFields) -> list[Fields]:
    messages: list[Fields] = []
    if asked.instructions:
        messages.append({"role": "system", "content": asked.instructions})
    if isinstance(asked.input, str):
        messages.append({"role": "user", "content": asked.input})
        return messages
    # The model's items, one after the other, are one message: what it thought, said and called.
    answer: Fields | None = None
    for item in asked.input:
        if item.type not in _BY_THE_MODEL and item.role != "assistant":
            answer = None
            messages.append(_told(item))
            continue
        if answer is None:
            answer = {"role": "assistant"}
            messages.append(answer)
        _extend(answer, item)
    return messages


def _extend(answer: Fields, item: _Item) -> None:
    if item.type == "reasoning":
        answer.setdefault("thinking_blocks", []).extend(_thoughts(item))
        return
    if item.type == "function_call":
        function = {"name": item.name, "arguments": item.arguments or "{}"}
        call = {"id": item.call_id, "type": "function", "function": function}
        answer.setdefault("tool_calls", []).append(call)
        return
    parts = _parts(item.content)
    before = answer.get("content")
    answer["content"] = parts if before is None else [*_listed(before), *_listed(parts)]


def _thoughts(item: _Item) -> list[Fields]:
    """What a model thought, as this gateway encoded it for its client; anything else says nothing to any vendor."""
    try:
        found = msgspec.json.decode(
            b64decode(item.encrypted_content or "", validate=True), type=list[dict[str, Any]]
        )
    except (ValueError, msgspec.DecodeError):
        return []
    return found


def _told(item: _Item) -> Fields:
    if item.type == "function_call_output":
        return {"role": "tool", "tool_call_id": item.call_id, "content": _parts(item.output)}
    return {"role": item.role or "user", "content": _parts(item.content)}


def _parts(content: str | list[_Part] | None) -> str | list[Fields]:
    if content is None or isinstance(content, str):
        return content or ""
    if len(content) == 1 and content[0].type in _TEXTS:
        return content[0].text or ""
    return [_part(part) for part in content]


def _part(part: _Part) -> Fields:
    if part.type == "input_image":
        if part.image_url is None:
            raise RequestError(
                param="input", detail="input: Images are given by image_url; files are not kept here."
            )
        return {"type": "image_url", "image_url": {"url": part.image_url}}
    if part.type == "refusal":
        return {"type": "refusal", "refusal": part.refusal or ""}
    return {"type": "text", "text": part.text or ""}


def _listed(content: str | list[Fields]) -> list[Fields]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _tool(tool: _Tool) -> Fields:
    function: Fields = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.parameters is not None:
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: str | _NamedTool) -> str | Fields:
    if isinstance(choice, str):
        return choice
    return {"type": "function", "function": {"name": choice.name}}


def _form(wanted: _Format) -> Mapping[str, Any]:
    if wanted.type == "json_object":
        return {"type": "json_object"}
    schema: Fields = {"name": wanted.name, "schema": wanted.schema}
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    if wanted.description is not None:
        schema["description"] = wanted.description
    return {"type": "json_schema", "json_schema": schema}
