"""Whatever conversation OpenAI's API takes, the sandbox's Gemini takes from the adapter: it checks turns, calls and signatures as Google does."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.execution.canonical import Request
from dispatch_app.providers import gemini
from sandbox.gemini import read_chat
from sandbox.gemini.signatures import sign_call, sign_text
from sandbox.wire import HttpRequest, RequestHead
from tests.dispatch_app.routing_values import ProviderRow, make_candidate

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PREPARED = gemini.prepare(ProviderRow(base_url="http://127.0.0.1/v1beta"))
TOOLS = [{"type": "function", "function": {"name": name}} for name in ("look", "listen")]
PICTURES = ("data:image/png;base64,iVBORw0KGgo=", "https://example.com/cat.png")

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
arguments = st.dictionaries(texts, st.none() | st.integers(-9, 9) | texts, max_size=2)
calls = st.tuples(st.sampled_from(["look", "listen"]), arguments, texts)
pictures = st.sampled_from(PICTURES).map(lambda url: {"type": "image_url", "image_url": {"url": url}})
asked = st.one_of(
    texts, st.lists(texts.map(lambda text: {"type": "text", "text": text}) | pictures, min_size=1, max_size=3)
)
steps = st.one_of(
    asked.map(lambda content: ("user", content)),
    st.tuples(st.just("system"), texts),
    st.tuples(st.just("assistant"), texts, st.booleans()),
    st.tuples(st.just("calls"), st.lists(calls, min_size=1, max_size=3), st.booleans(), st.none() | texts),
)


def conversation(plan: list[tuple[Any, ...]]) -> Iterator[dict[str, Any]]:
    """Messages that OpenAI's API takes. What Gemini wrote is signed by it, what another model wrote is not."""
    serial = count()
    yield {"role": "user", "content": "Hello"}
    for step in plan:
        match step:
            case ("calls", list(made), bool(is_ours), said):
                yield from calling(made, is_ours=is_ours, said=said, serial=serial)
            case ("assistant", text, bool(is_ours)):
                signature = f"gemini:{sign_text(text)}" if is_ours else "EqQBCg=="
                block = {"type": "thinking", "thinking": "", "signature": signature}
                yield {"role": "assistant", "content": text, "thinking_blocks": [block]}
                # One turn of Gemini's is what stands between two of the user's.
                yield {"role": "user", "content": "Go on."}
            case (role, content):
                yield {"role": role, "content": content}
    yield {"role": "user", "content": "So?"}


def calling(made: list[Any], *, is_ours: bool, said: str | None, serial: Iterator[int]) -> Iterator[Any]:
    told: list[dict[str, Any]] = [
        {
            "id": f"call_{next(serial)}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(given)},
        }
        for name, given, _ in made
    ]
    if is_ours:
        told[0]["extra_content"] = {"google": {"thought_signature": sign_call(made[0][0], made[0][1])}}
    yield {"role": "assistant", "content": said, "tool_calls": told}
    # Results may come in any order.
    for call, (_, _, result) in reversed(list(zip(told, made, strict=True))):
        yield {"role": "tool", "tool_call_id": call["id"], "content": result}


@given(st.lists(steps, max_size=6), st.booleans())
def test_every_conversation_is_taken(plan: list[tuple[Any, ...]], ends_with_results: bool) -> None:
    messages = list(conversation(plan))
    if ends_with_results and messages[-2]["role"] == "tool":
        messages.pop()
    request = Request(fields={"messages": messages, "tools": TOOLS}, stream=False, choices=1)

    built = gemini.build(request=request, candidate=make_candidate(), prepared=PREPARED, now=NOW)

    path = built.url.removeprefix("http://127.0.0.1")
    head = RequestHead(method="POST", target=path, headers=())
    chat = read_chat(HttpRequest(head=head, body=built.body))
    calls_told = sum(len(message.tool_calls or ()) for message in chat.messages)
    results_told = sum(message.role == "tool" for message in chat.messages)
    assert calls_told == sum(len(message.get("tool_calls") or ()) for message in messages)
    assert results_told == sum(message["role"] == "tool" for message in messages)
