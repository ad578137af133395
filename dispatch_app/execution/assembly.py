"""Between a reply as a whole and the same reply in parts. Pure."""

from collections.abc import Iterable
from typing import Any

from dispatch_app.execution.canonical import Choice, ChunkChoice, Reply, StreamPart

_REPLACED = frozenset({"role", "type", "id", "index"})
"""Fields that parts repeat; texts under any other name continue."""
_NUMBERED = ("tool_calls", "thinking_blocks")


def assemble(parts: Iterable[StreamPart], *, wire_status: int, first_byte_at: float) -> Reply:
    """The reply that `parts` come to."""
    choices: dict[int, Choice] = {}
    model, usage = "", None
    for part in parts:
        model, usage = part.model or model, part.usage or usage
        for step in part.choices:
            choice = choices.setdefault(step.index, Choice(index=step.index, message={}, finish_reason=None))
            _extend(choice, step)
    for choice in choices.values():
        _drop_numbers(choice.message)
    return Reply(
        model=model,
        choices=[choices[index] for index in sorted(choices)],
        usage=usage,
        wire_status=wire_status,
        first_byte_at=first_byte_at,
    )


def disassemble(reply: Reply) -> list[StreamPart]:
    """The parts of a stream that says what `reply` says: each choice in one, then its end."""
    parts = [
        StreamPart(model=reply.model, choices=[step], usage=None)
        for choice in reply.choices
        for step in (
            ChunkChoice(index=choice.index, delta=_numbered(choice.message), logprobs=choice.logprobs),
            ChunkChoice(
                index=choice.index,
                delta={},
                finish_reason=choice.finish_reason or "stop",
                matched_stop=choice.matched_stop,
            ),
        )
    ]
    return [*parts, StreamPart(model=reply.model, choices=[], usage=reply.usage)]


def _extend(choice: Choice, step: ChunkChoice) -> None:
    choice.message.setdefault("role", "assistant")
    choice.message.setdefault("content", None)
    _merge(choice.message, step.delta)
    choice.finish_reason = step.finish_reason or choice.finish_reason
    choice.matched_stop = step.matched_stop or choice.matched_stop
    if step.logprobs:
        choice.logprobs = _merged(choice.logprobs, step.logprobs, "logprobs")


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    for name, value in delta.items():
        if value is not None:
            whole[name] = _merged(whole.get(name), value, name)


def _merged(known: Any, value: Any, name: str) -> Any:
    """What a field has come to. Texts continue, objects and lists grow, anything else is replaced."""
    match known, value:
        case str(), str():
            return value if name in _REPLACED else known + value
        case dict(), dict():
            merged = dict(known)
            _merge(merged, value)
            return merged
        case list(), list():
            return _merged_items(known, value)
        case None, list():
            return _merged_items([], value)
        case _:
            return value


def _merged_items(known: list[Any], items: list[Any]) -> list[Any]:
    """Items that carry an `index` (tool calls) continue the item of that index; others are appended."""
    merged = list(known)
    for item in items:
        place = item.get("index") if isinstance(item, dict) else None
        position = next(
            (at for at, other in enumerate(merged) if place is not None and other.get("index") == place), None
        )
        if position is None:
            merged.append(dict(item) if isinstance(item, dict) else item)
        else:
            merged[position] = _merged(merged[position], item, "")
    return merged


def _drop_numbers(message: dict[str, Any]) -> None:
    """Outside of streams, the place of a tool call, or of a thought, is its place in the list."""
    for name in _NUMBERED:
        for item in message.get(name) or ():
            if isinstance(item, dict):
                item.pop("index", None)


def _numbered(message: dict[str, Any]) -> dict[str, Any]:
    """A message as a delta: in streams, tool calls and thoughts are told apart by `index`."""
    numbered = {
        name: [{"index": index, **item} for index, item in enumerate(items)]
        for name in _NUMBERED
        if isinstance(items := message.get(name), list)
    }
    return message | numbered if numbered else message
