"""OpenAI's own client, as it asks for chat completions."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import openai

from tests.matrix.questions import ANSWER, BOTH, CAPITAL, CITY, LINK, NAMES, PIXEL, QUESTION, SCHEMA

TOOLS: list[Any] = [{"type": "function", "function": {"name": name, "parameters": CITY}} for name in NAMES]

Feature = Callable[[openai.OpenAI, str], None]


@contextlib.contextmanager
def open_client(url: str, key: str) -> Iterator[openai.OpenAI]:
    """A client of the gateway at `url`."""
    with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as client:
        yield client


def plain(client: openai.OpenAI, model: str, text: str = CAPITAL) -> Any:
    """Ask for a whole answer."""
    asked: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return client.chat.completions.create(model=model, messages=asked, temperature=0.5, stop=["END"])


def streamed(client: openai.OpenAI, model: str) -> list[Any]:
    """Ask for an answer bit by bit; all of its chunks."""
    return list(
        client.chat.completions.create(
            model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )


def _plain(client: openai.OpenAI, model: str) -> None:
    answer = plain(client, model)
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage.prompt_tokens > 0 < answer.usage.completion_tokens


def _stream(client: openai.OpenAI, model: str) -> None:
    chunks = streamed(client, model)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].usage is not None


def _tools(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=BOTH, tools=TOOLS)
    _check_calls(answer.choices[0].message)
    turn: Any = answer.choices[0].message.model_dump(exclude_none=True)
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call["id"], "content": "Fine."} for call in turn["tool_calls"]
    ]
    told = client.chat.completions.create(model=model, messages=[*BOTH, turn, *results], tools=TOOLS)
    assert told.choices[0].message.content


def _streamed_tools(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=BOTH, tools=TOOLS) as stream:
        _check_calls(stream.get_final_completion().choices[0].message)


def _check_calls(message: Any) -> None:
    assert [call.function.name for call in message.tool_calls] == NAMES
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in message.tool_calls)


def _tool_choice(client: openai.OpenAI, model: str) -> None:
    named: Any = {"type": "function", "function": {"name": "get_time"}}
    answer = client.chat.completions.create(model=model, messages=QUESTION, tools=TOOLS, tool_choice=named)
    calls: Any = answer.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_time"]


def _schema(client: openai.OpenAI, model: str) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    answer = client.chat.completions.create(model=model, messages=QUESTION, response_format=form)
    assert json.loads(answer.choices[0].message.content or "").keys() == {"answer"}


def _vision(client: openai.OpenAI, model: str) -> None:
    _ask_of_picture(client, model, f"data:image/png;base64,{PIXEL}")


def _linked_vision(client: openai.OpenAI, model: str) -> None:
    _ask_of_picture(client, model, LINK)


def _ask_of_picture(client: openai.OpenAI, model: str, url: str) -> None:
    parts: Any = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content


def _reasoning(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, reasoning_effort="low", max_completion_tokens=2_000
    )
    assert answer.choices[0].message.content == ANSWER


def _seed(client: openai.OpenAI, model: str) -> None:
    assert client.chat.completions.create(model=model, messages=QUESTION, seed=7).choices[0].message.content


def _choices(client: openai.OpenAI, model: str) -> None:
    assert len(client.chat.completions.create(model=model, messages=QUESTION, n=2).choices) == 2


def _logprobs(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=QUESTION, logprobs=True)
    assert answer.choices[0].logprobs is not None


def _cut(client: openai.OpenAI, model: str) -> None:
    long: list[Any] = [{"role": "user", "content": "Tell me more in 200 words"}]
    answer = client.chat.completions.create(model=model, messages=long, max_tokens=20)
    assert answer.choices[0].finish_reason == "length"


def _traced(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, extra_headers={"X-Dispatch-Debug": "true"}
    )
    assert answer.to_dict()["dispatch"]["policy"] == model  # type: ignore[index]


def _models(client: openai.OpenAI, model: str) -> None:
    assert model in {told.id for told in client.models.list()}
    assert client.models.retrieve(model).id == model


def _cancelled(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.create(model=model, messages=QUESTION, stream=True) as stream:
        assert next(iter(stream)).choices


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
    "models listed": _models,
    "cut short": _cut,
    "with its trace": _traced,
    "cancelled": _cancelled,
    "seed": _seed,
    "several choices": _choices,
    "logprobs": _logprobs,
}
