"""What an answer says, taken out of its wire format. Pure."""

import re
from typing import Any

import msgspec

from dispatch_app.execution.canonical import Choice, Reply

_SPACE = re.compile(r"\s+")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


def text_of(choice: Choice) -> str:
    """The text of one choice; empty where it only calls tools."""
    content = choice.message.get("content")
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def calls_tools(choice: Choice) -> bool:
    """Whether the choice asks for tools to be called."""
    return bool(choice.message.get("tool_calls"))


def json_of(text: str) -> Any:
    """The JSON value that a text is, fenced as a code block or not.

    :raises ValueError: if it is none.
    """
    text = text.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text.strip("`").removeprefix("json")
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ValueError("no JSON") from error


def essence_of(reply: Reply) -> str:
    """What the reply says, so that two replies which say the same have the same essence.

    Tool calls count by name and arguments, JSON by its values, any other text by its words without regard to case,
    spacing and the full stop at its end.
    """
    return "\n".join(_essence(choice) for choice in reply.choices)


def _essence(choice: Choice) -> str:
    calls = choice.message.get("tool_calls")
    if isinstance(calls, list) and calls:
        return _encode([_call(call) for call in calls]).decode()
    text = text_of(choice)
    try:
        value = json_of(text)
    except ValueError:
        return _SPACE.sub(" ", text.strip().rstrip(".")).casefold()
    return _encode(value).decode() if isinstance(value, dict | list) else str(value).casefold()


def _call(call: Any) -> list[Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return [call]
    arguments = function.get("arguments")
    try:
        return [function.get("name"), json_of(arguments) if isinstance(arguments, str) else arguments]
    except ValueError:
        return [function.get("name"), arguments]
