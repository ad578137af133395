"""Anthropic's own client."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import anthropic

from tests.matrix.questions import ANSWER, BOTH, CAPITAL, CITY, LINK, NAMES, PIXEL, QUESTION, SCHEMA

TOOLS: list[Any] = [{"name": name, "input_schema": CITY} for name in NAMES]

Feature = Callable[[anthropic.Anthropic, str], None]


@contextlib.contextmanager
def open_client(url: str, key: str) -> Iterator[anthropic.Anthropic]:
    """A client of the gateway at `url`."""
    with anthropic.Anthropic(base_url=url, api_key=key, max_retries=0) as client:
        yield client


def plain(client: anthropic.Anthropic, model: str, text: str = CAPITAL) -> Any:
    """Ask for a whole answer."""
    asked: list[Any] = [{"role": "user", "content": text}]
    return client.messages.create(
        model=model, max_tokens=100, system="Be brief.", messages=asked, stop_sequences=["END"]
    )


def streamed(client: anthropic.Anthropic, model: str) -> list[Any]:
    """Ask for an answer bit by bit; all of its events."""
    return list(client.messages.create(model=model, max_tokens=100, messages=QUESTION, stream=True))


def _plain(client: anthropic.Anthropic, model: str) -> None:
    answer = plain(client, model)
    assert _text(answer) == ANSWER
    assert answer.usage.input_tokens > 0 < answer.usage.output_tokens


def _stream(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=100, messages=QUESTION) as stream:
        answer = stream.get_final_message()
    assert _text(answer) == ANSWER
    assert answer.usage.output_tokens > 0


def _text(answer: Any) -> str:
    return "".join(block.text for block in answer.content if block.type == "text")


def _tools(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(model=model, max_tokens=500, messages=BOTH, tools=TOOLS)
    calls = _check_calls(answer)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "Fine."} for call in calls]
    turns: list[Any] = [
        *BOTH,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": results},
    ]
    told = client.messages.create(model=model, max_tokens=500, messages=turns, tools=TOOLS)
    assert _text(told)


def _streamed_tools(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=500, messages=BOTH, tools=TOOLS) as stream:
        _check_calls(stream.get_final_message())


def _check_calls(answer: Any) -> list[Any]:
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.name for call in calls] == NAMES
    assert all(isinstance(call.input, dict) for call in calls)
    assert answer.stop_reason == "tool_use"
    return calls


def _tool_choice(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(
        model=model,
        max_tokens=500,
        messages=QUESTION,
        tools=TOOLS,
        tool_choice={"type": "tool", "name": "get_time"},
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["get_time"]


def _schema(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(
        model=model,
        max_tokens=500,
        messages=QUESTION,
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )
    assert json.loads(_text(answer)).keys() == {"answer"}


def _vision(client: anthropic.Anthropic, model: str) -> None:
    _ask_of_picture(client, model, {"type": "base64", "media_type": "image/png", "data": PIXEL})


def _linked_vision(client: anthropic.Anthropic, model: str) -> None:
    _ask_of_picture(client, model, {"type": "url", "url": LINK})


def _ask_of_picture(client: anthropic.Anthropic, model: str, source: Any) -> None:
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    answer = client.messages.create(
        model=model, max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    assert _text(answer)


def _reasoning(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(
        model=model,
        max_tokens=2_000,
        messages=QUESTION,
        thinking={"type": "enabled", "budget_tokens": 1_024},
    )
    assert _text(answer) == ANSWER


def _begun(client: anthropic.Anthropic, model: str) -> None:
    turns: list[Any] = [*QUESTION, {"role": "assistant", "content": "The capital"}]
    assert _text(client.messages.create(model=model, max_tokens=100, messages=turns))


def _reasoning_over_turns(client: anthropic.Anthropic, model: str) -> None:
    """What was thought goes back with the results of the tools, plain and streamed."""
    asked: dict[str, Any] = {
        "model": model,
        "max_tokens": 4_000,
        "tools": TOOLS,
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
    }
    with client.messages.stream(messages=BOTH, **asked) as stream:
        answer = stream.get_final_message()
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": "Fine."} for call in _check_calls(answer)
    ]
    told: list[Any] = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    assert _text(client.messages.create(messages=[*BOTH, *told], **asked))


def _cut(client: anthropic.Anthropic, model: str) -> None:
    long: list[Any] = [{"role": "user", "content": "Tell me more in 200 words"}]
    assert client.messages.create(model=model, max_tokens=20, messages=long).stop_reason == "max_tokens"


def _models(client: anthropic.Anthropic, model: str) -> None:
    assert model in {told.id for told in client.models.list()}
    assert client.models.retrieve(model).id == model


def _counted(client: anthropic.Anthropic, model: str) -> None:
    assert client.messages.count_tokens(model=model, messages=QUESTION).input_tokens > 0


def _cancelled(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=100, messages=QUESTION) as stream:
        assert next(iter(stream.text_stream))


FEATURES: Mapping[str, Feature] = {
    "plain": _plain,
    "streamed": _stream,
    "tools and their results": _tools,
    "streamed tools": _streamed_tools,
    "named tool": _tool_choice,
    "structured output": _schema,
    "vision": _vision,
    "vision by address": _linked_vision,
    "reasoning": _reasoning,
    "reasoning and tools": _reasoning_over_turns,
    "models listed": _models,
    "tokens counted": _counted,
    "cut short": _cut,
    "cancelled": _cancelled,
    "answer begun": _begun,
}
