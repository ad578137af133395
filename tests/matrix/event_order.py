"""Which event of a stream may follow which, and what they have to agree on."""

from collections.abc import Mapping, Sequence
from typing import Any

Event = Mapping[str, Any]

_LAST = frozenset({"response.completed", "response.incomplete", "error"})
_TEXTS = {
    "output_text": "text",
    "refusal": "refusal",
    "reasoning_summary_text": "text",
    "function_call_arguments": "arguments",
}
"""Where the last event of a text says what all that came bit by bit has come to."""


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
    items = _Items()
    for event in events[2:-1] if is_over else events[2:]:
        items.take(event)
    if has_answered:
        response = events[-1]["response"]
        assert items.opened is None, "an item was not ended"
        assert response["output"] == items.done, "the response has other items than its stream"
        assert kinds[-1] == f"response.{response['status']}"
        assert len({event["response"]["id"] for event in events if "response" in event}) == 1


class _Items:
    """Items come one after the other, each with its parts one after the other. `text` is None where nothing may be said."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.opened: Event | None = None
        self._parts: list[Any] = []
        self._text: str | None = None

    def take(self, event: Event) -> None:
        assert event["output_index"] == len(self.done)
        match event["type"].split("."):
            case [_, "output_item", "added"]:
                assert self.opened is None
                self.opened, self._parts = event["item"], []
                self._text = "" if event["item"]["type"] == "function_call" else None
            case [_, "output_item", "done"]:
                self._close(event["item"])
            case [_, kind, step]:
                assert self.opened is not None
                assert event["item_id"] == self.opened["id"]
                self._take_within(kind, step, event)

    def _take_within(self, kind: str, step: str, event: Event) -> None:
        match kind, step:
            case (("content_part" | "reasoning_summary_part"), "added"):
                assert self._text is None
                assert event.get("content_index", event.get("summary_index")) == len(self._parts)
                self._text = ""
            case (("content_part" | "reasoning_summary_part"), "done"):
                part = event["part"]
                assert part["refusal" if part["type"] == "refusal" else "text"] == self._text
                self._parts.append(part)
                self._text = None
            case _, "delta":
                assert self._text is not None
                self._text += event["delta"]
            case _:
                # A call without arguments has an empty object, of which no bit came.
                empty = "{}" if kind == "function_call_arguments" else ""
                assert event[_TEXTS[kind]] == (self._text or empty)

    def _close(self, item: Event) -> None:
        assert self.opened is not None
        assert (item["id"], item["type"]) == (self.opened["id"], self.opened["type"])
        match item["type"]:
            case "message":
                assert item["content"] == self._parts
            case "reasoning":
                assert item["summary"] == self._parts
            case _:
                assert item["arguments"] == (self._text or "{}")
        self.done.append(item)
        self.opened = self._text = None


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
