"""What a model's row adds to a conversation, and who speaks the system's words in it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from policies_app.routing.codes import SystemRole
from policies_app.routing.quirks import Quirks

Message = Mapping[str, Any]

_SYSTEM = frozenset({"system", "developer"})
_BETWEEN = "\n\n"


def conversation_for(quirks: Quirks, messages: list[Message]) -> list[Message]:
    """The messages with the row's words around those of the system, and these spoken by whom the model listens to."""
    told = _framed(messages, quirks) if quirks.system_prefix or quirks.system_suffix else messages
    match quirks.system_role:
        case SystemRole.AS_SENT:
            return told
        case SystemRole.USER:
            return list(_folded(told))
        case role:
            return [
                {**message, "role": role.value} if message["role"] in _SYSTEM else message for message in told
            ]


def _framed(messages: list[Message], quirks: Quirks) -> list[Message]:
    """The conversation with the row's words around those that the system says at its beginning."""
    first = next((at for at, message in enumerate(messages) if message["role"] not in _SYSTEM), len(messages))
    opening = messages[:first] or [{"role": "system", "content": ""}]
    if quirks.system_prefix:
        opening = [
            _with_content(opening[0], _joined(quirks.system_prefix, opening[0].get("content"))),
            *opening[1:],
        ]
    if quirks.system_suffix:
        opening = [
            *opening[:-1],
            _with_content(opening[-1], _joined(opening[-1].get("content"), quirks.system_suffix)),
        ]
    return [*opening, *messages[first:]]


def _folded(messages: list[Message]) -> Iterator[Message]:
    """What the system says as the beginning of what the user says next, or as a message of the user's before anybody else speaks."""
    waiting: Any = None
    for message in messages:
        if message["role"] in _SYSTEM:
            waiting = _joined(waiting, message.get("content"))
        elif message["role"] == "user":
            yield _with_content(message, _joined(waiting, message.get("content")))
            waiting = None
        else:
            if waiting:
                yield {"role": "user", "content": waiting}
                waiting = None
            yield message
    if waiting:
        yield {"role": "user", "content": waiting}


def _with_content(message: Message, content: Any) -> Message:
    return {**message, "content": content}


def _joined(one: Any, other: Any) -> Any:
    """Two contents as one: texts with a blank line between them, parts one after the other."""
    if not one or not other:
        return one or other
    if isinstance(one, str) and isinstance(other, str):
        return f"{one}{_BETWEEN}{other}"
    return [*_parts(one), *_parts(other)]


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
