"""Whatever a request asks for and in whatever form: no usage within its limits costs more than what is reserved for it."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dispatch_app.gateway.errors import RequestError
from dispatch_app.gateway.openai_chat import parse_chat
from policies_app.routing.money import bound_nanos, cost_nanos
from policies_app.routing.types import Price, Usage
from tests.policies_app.routing.builders import LONG_AGO, a_model, some_facts

TOKENS_AROUND_A_MESSAGE = 8
TOKENS_AROUND_TOOLS = 512

texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=60)
pictures = st.builds(
    lambda kind, data: {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}},
    st.sampled_from(["png", "webp"]),
    st.text("ABC/+=", max_size=400),
)
parts = st.one_of(
    texts.map(lambda text: {"type": "text", "text": text}),
    texts.map(lambda text: {"type": "refusal", "refusal": text}),
    pictures,
    st.just({"type": "image_url", "image_url": {"url": "https://example.com/large.png"}}),
)
calls = st.builds(
    lambda name, arguments: {
        "id": "1",
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(arguments)},
    },
    texts,
    st.dictionaries(texts, texts, max_size=3),
)
messages = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    optional={
        "content": st.one_of(texts, st.lists(parts, max_size=4), st.none()),
        "name": texts,
        "tool_calls": st.lists(calls, max_size=2),
    },
)
schemas = st.dictionaries(texts, st.one_of(texts, st.dictionaries(texts, texts, max_size=2)), max_size=3)
tools = st.builds(
    lambda name, parameters: {"type": "function", "function": {"name": name, "parameters": parameters}},
    texts,
    schemas,
)
bodies = st.fixed_dictionaries(
    {"model": st.just("auto"), "messages": st.lists(messages, min_size=1, max_size=4)},
    optional={
        "n": st.integers(1, 128),
        "tools": st.lists(tools, max_size=3),
        "response_format": st.builds(
            lambda schema: {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
            schemas,
        ),
        "reasoning_effort": st.sampled_from(["low", "high"]),
        "documents": st.lists(texts, max_size=2),
    },
)
nanos = st.integers(0, 10**13)
prices = st.builds(
    Price, id=st.just(1), effective_from=st.just(LONG_AGO), input_nanos=nanos, cached_input_nanos=nanos,
    cache_write_nanos=nanos, output_nanos=nanos, reasoning_nanos=nanos,
)  # fmt: skip


@settings(deadline=None)
@given(body=bodies, price=prices, escapes=st.booleans(), image_tokens=st.integers(0, 5_000), data=st.data())
def test_no_usage_within_the_limits_of_a_request_costs_more_than_its_bound(
    body: dict[str, Any], price: Price, escapes: bool, image_tokens: int, data: st.DataObject
) -> None:
    """The vendor's tokenizer is as bad as can be: every byte of text is a token."""
    prompt = parse_chat(json.dumps(body, ensure_ascii=escapes).encode())
    output_limit = data.draw(st.integers(1, 100_000))
    most_input = _most_input_tokens(body, image_tokens)
    cached = data.draw(st.integers(0, most_input))
    written = data.draw(st.integers(0, most_input - cached))
    most_output = body.get("n", 1) * output_limit
    reasoning = data.draw(st.integers(0, most_output))
    usage = Usage(
        input_tokens=most_input - cached - written,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        output_tokens=most_output - reasoning,
        reasoning_tokens=reasoning,
    )

    bound = bound_nanos(
        facts=some_facts(
            input_tokens_bound=prompt.input_tokens_bound,
            images=prompt.images,
            choices=prompt.request.choices,
        ),
        model=a_model(image_tokens_bound=image_tokens),
        price=price,
        output_tokens_limit=output_limit,
    )

    assert cost_nanos(usage=usage, price=price) <= bound


@pytest.mark.parametrize("kind", ["application/pdf", "video/mp4", "text/plain", ""])
def test_what_is_no_image_is_not_taken_for_one(kind: str) -> None:
    """A vendor may read a document from the address of an image, and bill each of its pages."""
    picture = {"type": "image_url", "image_url": {"url": f"Data:{kind};base64,QUJD"}}
    body = {"model": "auto", "messages": [{"role": "user", "content": [picture]}]}

    with pytest.raises(RequestError) as raised:
        parse_chat(json.dumps(body).encode())

    assert (raised.value.status, raised.value.param) == (400, "messages")


def _most_input_tokens(body: dict[str, Any], image_tokens: int) -> int:
    images = 0
    tokens = _bytes_of_text({name: body.get(name) for name in ("tools", "response_format", "documents")})
    for message in body["messages"]:
        tokens += TOKENS_AROUND_A_MESSAGE + _bytes_of_text(message.get("name", ""))
        tokens += _bytes_of_text(message.get("tool_calls", []))
        content = message.get("content")
        for part in content if isinstance(content, list) else [{"text": content}]:
            images += part.get("type") == "image_url"
            tokens += _bytes_of_text([part.get("text"), part.get("refusal")])
    if "tools" in body or "response_format" in body:
        tokens += TOKENS_AROUND_TOOLS
    return tokens + images * image_tokens


def _bytes_of_text(value: object) -> int:
    """Of every name and text in it."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict):
        return sum(_bytes_of_text([name, inner]) for name, inner in value.items() if inner is not None)
    return sum(map(_bytes_of_text, value)) if isinstance(value, list) else 0
