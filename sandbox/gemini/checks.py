"""What Google refuses beyond the single field: turns out of order, signatures that are missing or not its own."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby, pairwise

from sandbox.errors import ApiError
from sandbox.gemini.fields import (
    Content,
    FunctionCall,
    FunctionCallingConfig,
    FunctionResponse,
    GenerateContent,
    GenerationConfig,
    Part,
)
from sandbox.gemini.signatures import decode_base64, is_signed_call, is_signed_text

_SIGNS = {
    "image/png": b"\x89PNG",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF",
    "image/heic": b"\x00\x00\x00",
    "image/heif": b"\x00\x00\x00",
}
_SAID = ("text", "inline_data", "file_data", "function_call", "function_response")
_CALLS_AND_RESULTS = (
    "Please ensure that the number of function response parts is equal to the number of function call "
    "parts of the function call turn."
)


def check(asked: GenerateContent, *, model: str) -> None:
    """Check what no single field shows.

    :raises ApiError: if Google would refuse it.
    """
    if asked.cached_content is not None:
        raise ApiError(status=403, message="CachedContent not found (or permission denied)")
    _check_config(asked.generation_config, model)
    _check_tools(asked)
    _check_turns(asked.contents)
    for place, turn in enumerate(asked.contents):
        _check_parts(turn.parts, f"contents[{place}]")
    turns = _in_turns(asked.contents)
    _check_calls(turns)
    for turn in turns:
        _check_signatures(turn)
    _check_that_calls_are_signed(turns)
    if asked.system_instruction is not None:
        _check_parts(asked.system_instruction.parts, "system_instruction")


def _check_config(config: GenerationConfig, model: str) -> None:
    if config.response_logprobs:
        raise _invalid(f"Logprobs is not enabled for models/{model}")
    if config.logprobs is not None:
        raise _invalid("logprobs is only valid if response_logprobs is true", "generation_config.logprobs")
    thinking = config.thinking_config
    if thinking.thinking_budget is not None and thinking.thinking_level is not None:
        raise _invalid("You can only set only one of thinking budget and thinking level.")
    if config.response_schema is not None and config.response_json_schema is not None:
        raise _invalid("Only one of response_schema and response_json_schema can be set.")
    has_schema = config.response_schema is not None or config.response_json_schema is not None
    if has_schema and config.response_mime_type != "application/json":
        raise _invalid(
            "A response schema is only supported with the response mime type application/json.",
            "generation_config.response_mime_type",
        )


def _check_tools(asked: GenerateContent) -> None:
    names = [function.name for function in asked.functions]
    if len(set(names)) < len(names):
        raise _invalid("Duplicate function declaration found.", "tools")
    if any(function.parameters and function.parameters_json_schema for function in asked.functions):
        raise _invalid("parameters and parameters_json_schema are mutually exclusive.", "tools")
    calling = asked.tool_config.function_calling_config
    if calling == FunctionCallingConfig():
        return
    if not names:
        raise _invalid("Function calling config is set without function_declarations.", "tool_config")
    if calling.allowed_function_names and calling.mode not in {"ANY", "VALIDATED"}:
        raise _invalid(
            "allowed_function_names should only be set when function calling mode is ANY or VALIDATED.",
            "tool_config",
        )
    if not set(calling.allowed_function_names) <= set(names):
        raise _invalid("allowed_function_names holds a name that is not declared.", "tool_config")


def _check_turns(turns: Sequence[Content]) -> None:
    if not turns:
        raise _invalid("* GenerateContentRequest.contents: contents is not specified\n", "contents")
    for place, turn in enumerate(turns):
        if turn.role not in {"user", "model"}:
            raise _invalid("Please use a valid role: user, model.", f"contents[{place}].role")
        if not turn.parts:
            field = f"contents[{place}].parts"
            raise _invalid(f"* GenerateContentRequest.{field}: contents.parts must not be empty.\n", field)
    if turns[-1].role == "model":
        raise _invalid("Requests ending with a model turn are not supported.", "contents")


def _check_parts(parts: Sequence[Part], place: str) -> None:
    for index, part in enumerate(parts):
        field = f"{place}.parts[{index}]"
        if sum(getattr(part, name) is not None for name in _SAID) != 1:
            raise _invalid(
                f"* GenerateContentRequest.{field}.data: required oneof field 'data' must have one initialized field",
                field,
            )
        if part.inline_data is not None:
            _check_image(part.inline_data.mime_type, part.inline_data.data, field)
        if part.file_data is not None and not part.file_data.file_uri.startswith("https://"):
            raise _invalid(f"Invalid or unsupported file uri: {part.file_data.file_uri}", field)


def _check_image(kind: str, data: str, field: str) -> None:
    if kind not in _SIGNS:
        raise _invalid(f"Unsupported MIME type: {kind}", field)
    try:
        image = decode_base64(data)
    except ValueError:
        raise _invalid(f"Invalid value at '{field}.inline_data.data' (TYPE_BYTES)", field) from None
    if not image.startswith(_SIGNS[kind]):
        raise _invalid("Unable to process input image.", field)


def _in_turns(contents: Sequence[Content]) -> list[Content]:
    """What one side says in several contents is one turn: Google's client keeps a stream as the pieces that came."""
    return [
        Content(role=role, parts=[part for content in said for part in content.parts])
        for role, said in groupby(contents, key=lambda content: content.role)
    ]


def _check_calls(turns: Sequence[Content]) -> None:
    nothing = Content(role="user")
    for before, turn in pairwise([nothing, *turns]):
        if _calls(turn) and (turn.role != "model" or not before.parts):
            raise _invalid(
                "Please ensure that function call turn comes immediately after a user turn or after a "
                "function response turn.",
                "contents",
            )
        if _results(turn) and not _calls(before):
            raise _invalid(
                "Please ensure that function response turn comes immediately after a function call turn.",
                "contents",
            )
    for turn, following in pairwise([*turns, nothing]):
        if len(_calls(turn)) != len(_results(following)):
            raise _invalid(_CALLS_AND_RESULTS, "contents")
        _check_results(turn, following)


def _check_results(turn: Content, following: Content) -> None:
    """Results say by name which call they answer, and by its id where they tell one: Google's own client need not."""
    called = Counter(call.name for call in _calls(turn))
    answered = Counter(result.name for result in _results(following))
    known = {(call.id, call.name) for call in _calls(turn)}
    told = [(result.id, result.name) for result in _results(following) if result.id is not None]
    if called != answered or len(set(told)) < len(told) or not known.issuperset(told):
        raise _invalid("Please ensure that every function response answers a function call.", "contents")


def _check_signatures(turn: Content) -> None:
    text = "".join(part.text or "" for part in turn.parts if not part.thought)
    for part in turn.parts:
        if part.thought_signature is None:
            continue
        call = part.function_call
        if call is None:
            is_own = is_signed_text(text, part.thought_signature)
        else:
            is_own = is_signed_call(call.name, call.args, part.thought_signature)
        if not is_own:
            raise _invalid("Corrupted thought signature.", "contents")


def _check_that_calls_are_signed(turns: Sequence[Content]) -> None:
    """The first call of each step has to be signed, from the user's last words on; before, they need not."""
    spoken = [
        place
        for place, turn in enumerate(turns)
        if turn.role == "user" and any(part.function_response is None for part in turn.parts)
    ]
    for place, turn in enumerate(turns):
        called = [part for part in turn.parts if part.function_call is not None]
        if spoken and place > spoken[-1] and called and called[0].thought_signature is None:
            name = "" if called[0].function_call is None else called[0].function_call.name
            raise _invalid(
                "Function call is missing a thought_signature in functionCall parts. This is required for "
                "tools to work correctly, and missing thought_signature may lead to degraded model "
                f"performance. Additional data, function call `default_api:{name}` , position {place + 1}.",
                "contents",
            )


def _calls(turn: Content) -> list[FunctionCall]:
    return [part.function_call for part in turn.parts if part.function_call is not None]


def _results(turn: Content) -> list[FunctionResponse]:
    return [part.function_response for part in turn.parts if part.function_response is not None]


def _invalid(message: str, field: str | None = None) -> ApiError:
    return ApiError(status=400, message=message, param=field)
