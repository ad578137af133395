"""Which event of a stream may follow which, and what they have to agree on."""

from collections.abc import Mapping, Sequence
from typing import Any

Event = Mapping[str, Any]

_LAST = frozenset({"response.completed", "response.incomplete", "error"})
_TEXTS = {
    "response.output_text": "text",
    "response.refusal": "refusal",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
}
"""What ends in `.delta` and `.done`, and where the latter says what all of the former came to."""


def check_responses(events: Sequence[Event], *, is_cut: bool) -> None:
    """Check the stream of a response.

    :raises AssertionError: if events are out of order, or do not say the same.
    """
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"][: len(kinds)]
    is_over = kinds[-1:] != [] and kinds[-1] in _LAST
    assert is_over or is_cut
    has_answered = is_over and kinds[-1] != "error"
    items = _check_items(events[2:-1] if is_over else events[2:], is_cut=not has_answered)
    if has_answered:
        response = events[-1]["response"]
        assert response["output"] == items, "the response has other items than its stream"
        assert kinds[-1] == f"response.{response['status']}"
        assert len({event["response"]["id"] for event in events if "response" in event}) == 1


def _check_items(events: Sequence[Event], *, is_cut: bool) -> list[Any]:
    """Items come one after the other, each with its parts one after the other."""
    items: list[Any] = []
    opened: Event | None = None
    parts: list[Event] = []
    text = ""
    for event in events:
        kind, _, step = event["type"].rpartition(".")
        assert event["output_index"] == len(items)
        if event["type"] == "response.output_item.added":
            assert opened is None
            opened, text, parts = event["item"], "", []
            continue
        assert opened is not None
        if event["type"] == "response.output_item.done":
            assert (event["item"]["id"], event["item"]["type"]) == (opened["id"], opened["type"])
            assert _parts_of(event["item"]) == parts
            items.append(event["item"])
            opened = None
            continue
        assert event["item_id"] == opened["id"]
        if kind in {"response.content_part", "response.reasoning_summary_part"}:
            if step == "added":
                assert _index_of(event) == len(parts)
                text = ""
            else:
                assert _text_of(event["part"]) == text
                parts.append(event["part"])
        elif step == "delta":
            text += event["delta"]
        else:
            assert step == "done"
            assert event[_TEXTS[kind]] == text or (opened["type"] == "function_call" and not text)
            if opened["type"] == "function_call":
                parts.append({"arguments": event["arguments"]})
    assert opened is None or is_cut, "an item was not ended"
    return items


def _parts_of(item: Event) -> list[Any]:
    match item["type"]:
        case "message":
            return list(item["content"])
        case "reasoning":
            return list(item["summary"])
        case _:
            return [{"arguments": item["arguments"]}]


def _index_of(event: Event) -> int:
    return int(event["content_index"] if "content_index" in event else event["summary_index"])


def _text_of(part: Event) -> str:
    return str(part["refusal"] if part["type"] == "refusal" else part["text"])


def check_messages(events: Sequence[Event], *, is_cut: bool) -> None:
    """Check the stream of a message.

    :raises AssertionError: if events are out of order.
    """
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    assert not kinds or kinds[0] == "message_start"
    opened: int | None = None
    ended = 0
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert (opened, event["index"]) == (None, ended)
                opened = event["index"]
            case "content_block_delta":
                assert event["index"] == opened
            case "content_block_stop":
                assert event["index"] == opened
                opened, ended = None, ended + 1
            case "message_delta" | "message_stop":
                assert opened is None
    if not is_cut and kinds[-1] != "error":
        assert kinds[-2:] == ["message_delta", "message_stop"]
