import json

from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.assembly import assemble, disassemble
from dispatch_app.execution.canonical import Choice, ChunkChoice, Reply, StreamPart
from policies_app.routing.types import Usage

TEXTS = st.text(max_size=12)
CALLS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc", min_size=1, max_size=5),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text("fg", min_size=1), "arguments": TEXTS}),
        }
    ),
    min_size=1,
    max_size=3,
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": TEXTS | st.none()},
    optional={"tool_calls": CALLS, "reasoning_content": st.text(min_size=1, max_size=9)},
)
LOGPROBS = st.none() | st.fixed_dictionaries(
    {"content": st.lists(st.fixed_dictionaries({"token": TEXTS, "logprob": st.floats(-5, 0)}), min_size=1)}
)


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    choices = [
        Choice(
            index=index,
            message=draw(MESSAGES),
            logprobs=draw(LOGPROBS),
            finish_reason=draw(st.sampled_from(["stop", "length", "tool_calls"])),
        )
        for index in range(draw(st.integers(1, 3)))
    ]
    return Reply(model="m", choices=choices, usage=Usage(input_tokens=3), wire_status=200, first_byte_at=0.0)


@given(replies())
def test_a_reply_taken_apart_and_put_together_is_the_same(reply: Reply) -> None:
    again = assemble(disassemble(reply), wire_status=200, first_byte_at=0.0)

    assert again == reply


@given(reply=replies(), data=st.data())
def test_however_texts_are_cut_the_whole_is_the_same(reply: Reply, data: st.DataObject) -> None:
    parts = [piece for part in disassemble(reply) for piece in _cut(part, data)]

    assert assemble(parts, wire_status=200, first_byte_at=0.0) == reply


def test_a_streamed_tool_call_is_put_together_as_vendors_stream_it() -> None:
    deltas = [
        {"role": "assistant", "content": None},
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 1, "id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
    ]  # fmt: skip
    parts = [StreamPart(model="m", choices=[ChunkChoice(delta=delta)], usage=None) for delta in deltas]

    (choice,) = assemble(parts, wire_status=200, first_byte_at=0.0).choices

    assert choice.message["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]


def test_putting_together_leaves_the_parts_as_they_were() -> None:
    deltas = [{"tool_calls": [{"index": 0, "function": {"arguments": "a"}}]} for _ in range(2)]
    before = json.dumps(deltas)
    parts = [StreamPart(model="m", choices=[ChunkChoice(delta=delta)], usage=None) for delta in deltas]

    assemble(parts, wire_status=200, first_byte_at=0.0)

    assert json.dumps(deltas) == before


def _cut(part: StreamPart, data: st.DataObject) -> list[StreamPart]:
    """The same part with its text in two pieces."""
    if not part.choices or not part.choices[0].delta.get("content"):
        return [part]
    (choice,) = part.choices
    text = choice.delta["content"]
    at = data.draw(st.integers(0, len(text)))
    first = ChunkChoice(
        index=choice.index, delta=choice.delta | {"content": text[:at]}, logprobs=choice.logprobs
    )
    second = ChunkChoice(index=choice.index, delta={"content": text[at:]})
    return [StreamPart(model=part.model, choices=[step], usage=None) for step in (first, second)]
