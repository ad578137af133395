"""Gemini's requests, checked as Google checks them, and what the models make of them."""

import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

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
from sandbox.gemini.checks import check
from sandbox.gemini.fields import Content, FunctionDeclaration, GenerateContent, GenerationConfig, Schema
from sandbox.gemini.names import camel, snake
from sandbox.wire import HttpRequest

_VERSION = re.compile(r"/(v1|v1beta)(?=/models)")
_CALL = re.compile(r"/models/(?P<model>[^/:]+):(?P<method>generateContent|streamGenerateContent)")
_PROBLEM = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<name>[^`]*)`")
_EFFORTS = {"MINIMAL": None, "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_BUDGETS = ((16_384, "high"), (8_192, "medium"), (1, "low"))
"""From so many tokens on, a budget lets a model think so hard."""
USUAL_EFFORT = "low"
"""How hard the models think when nothing is said of it, or when it is left to them."""


def is_gemini(request: HttpRequest) -> bool:
    """Whether a request is one of Gemini's API. In its first version, paths are like OpenAI's, and keys are not."""
    has_key = request.head.header("x-goog-api-key") is not None
    is_call = request.head.method == "POST" and ":" in request.path.rpartition("/")[2]
    return _VERSION.match(request.path) is not None and (
        has_key or is_call or request.path.startswith("/v1beta/")
    )


def unversioned(request: HttpRequest) -> str:
    """Return the path of a request that `is_gemini`, without the version."""
    return _VERSION.sub("", request.path, count=1)


def read_chat(request: HttpRequest) -> ChatRequest:
    """Read a request that `is_gemini`.

    :raises ApiError: if it calls no method of a model, is not JSON, or Google would refuse it.
    """
    called = _CALL.fullmatch(unversioned(request))
    if called is None or request.head.method != "POST":
        raise ApiError(status=404, message=f"Not found: {request.path}")
    streams = called["method"] == "streamGenerateContent"
    if streams and "alt=sse" not in request.head.target:
        raise ApiError(status=501, message="The sandbox streams server-sent events only: ask for alt=sse.")
    asked = _decode(request.body)
    check(asked, model=called["model"])
    config = asked.generation_config
    return ChatRequest(
        model=called["model"],
        stream=streams,
        stream_options=StreamOptions(include_usage=True),
        messages=tuple(_messages(asked)),
        n=config.candidate_count,
        stop=tuple(config.stop_sequences),
        max_completion_tokens=config.max_output_tokens,
        tools=_tools(asked),
        tool_choice=_tool_choice(asked),
        response_format=_response_format(config),
        reasoning_effort=_effort(config),
        shows_thoughts=config.thinking_config.include_thoughts,
        seed=config.seed,
    )


def caches_prompt(_request: HttpRequest) -> bool:
    """Whether prefixes of the prompt are looked up in the cache, and kept there: they are, unasked."""
    return True


def _decode(body: bytes) -> GenerateContent:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(status=400, message=f"Invalid JSON payload received. {error}") from error
    try:
        return msgspec.convert(camel(document), GenerateContent)
    except msgspec.ValidationError as error:
        raise _refuse(str(error)) from error


def _refuse(problem: str) -> ApiError:
    """What Google says of a field that it does not know, or that holds what it must not."""
    found = _PROBLEM.fullmatch(problem)
    told, path = (problem, "") if found is None else (found["problem"], snake(found["path"] or ""))
    if (unknown := _UNKNOWN.fullmatch(told)) is not None:
        place = f" at '{path}'" if path else ""
        message = (
            f'Invalid JSON payload received. Unknown name "{unknown["name"]}"{place}: Cannot find field.'
        )
    else:
        message = f"Invalid value at '{path}': {told}"
    return ApiError(status=400, message=message, param=path)


def _messages(asked: GenerateContent) -> Iterator[Message]:
    if asked.system_instruction is not None:
        yield Message(role="system", content=_parts(asked.system_instruction))
    for turn in asked.contents:
        yield from _results(turn)
        if any(part.function_response is None for part in turn.parts):
            role: Literal["assistant", "user"] = "assistant" if turn.role == "model" else "user"
            yield Message(role=role, content=_parts(turn), tool_calls=_calls(turn))


def _results(turn: Content) -> Iterator[Message]:
    for part in turn.parts:
        if part.function_response is not None:
            yield Message(role="tool", content=msgspec.json.encode(part.function_response.response).decode())


def _parts(turn: Content) -> tuple[ContentPart, ...]:
    return tuple(
        ContentPart(type="image_url") if part.text is None else ContentPart(type="text", text=part.text)
        for part in turn.parts
        if not part.thought and (part.text is not None or part.inline_data or part.file_data)
    )


def _calls(turn: Content) -> tuple[MessageToolCall, ...]:
    return tuple(
        MessageToolCall(
            id=call.id or "",
            function=FunctionCall(name=call.name, arguments=msgspec.json.encode(call.args).decode()),
        )
        for part in turn.parts
        if (call := part.function_call) is not None
    )


def _tools(asked: GenerateContent) -> tuple[Tool, ...]:
    allowed = asked.tool_config.function_calling_config.allowed_function_names
    return tuple(
        Tool(
            function=Function(
                name=function.name, description=function.description, parameters=_parameters(function)
            )
        )
        for function in asked.functions
        if not allowed or function.name in allowed
    )


def _parameters(function: FunctionDeclaration) -> dict[str, Any]:
    if function.parameters is not None:
        return _json_schema(function.parameters)
    return function.parameters_json_schema or {}


def _tool_choice(asked: GenerateContent) -> Literal["none", "auto", "required"] | NamedTool:
    config = asked.tool_config.function_calling_config
    match config.mode, config.allowed_function_names:
        case "ANY", [name]:
            return NamedTool(function=NamedFunction(name=name))
        case "ANY", _:
            return "required"
        case "NONE", _:
            return "none"
        case _:
            return "auto"


def _response_format(config: GenerationConfig) -> ResponseFormat | None:
    if config.response_mime_type != "application/json":
        return None
    schema = config.response_json_schema
    if config.response_schema is not None:
        schema = _json_schema(config.response_schema)
    if schema is None:
        return ResponseFormat(type="json_object")
    return ResponseFormat(type="json_schema", json_schema=JsonSchema(name="response", schema=schema))


def _json_schema(schema: Schema) -> dict[str, Any]:
    """A schema of OpenAPI as JSON Schema has it: kinds are written small, and lengths are numbers."""
    told: dict[str, Any] = msgspec.to_builtins(schema)
    return _small(told)


def _small(schema: dict[str, Any]) -> dict[str, Any]:
    small = dict(schema)
    if isinstance(kind := schema.get("type"), str):
        small["type"] = kind.lower()
    for name in ("minItems", "maxItems", "minLength", "maxLength"):
        if name in schema:
            small[name] = int(schema[name])
    if "items" in schema:
        small["items"] = _small(schema["items"])
    if "properties" in schema:
        small["properties"] = {name: _small(inner) for name, inner in schema["properties"].items()}
    if "anyOf" in schema:
        small["anyOf"] = [_small(option) for option in schema["anyOf"]]
    return small


def _effort(config: GenerationConfig) -> str | None:
    thinking = config.thinking_config
    if thinking.thinking_level is not None:
        return _EFFORTS[thinking.thinking_level.upper()]
    if thinking.thinking_budget in {None, -1}:
        return USUAL_EFFORT
    return next((effort for least, effort in _BUDGETS if (thinking.thinking_budget or 0) >= least), None)
