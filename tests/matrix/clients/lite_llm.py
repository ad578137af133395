"""LiteLLM as a client, told of nothing but where the gateway is, in either format that it can speak to it."""

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.embeddings import vector_of
from tests.matrix.questions import ANSWER, BOTH, CITY, NAMES, QUESTION, SCHEMA, TEXTS

# It would fetch its list of prices from the internet when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm

# It would make the thread an event loop and leave it open; where there is none to be had, it closes the one that it runs.
asyncio.set_event_loop(None)
litellm.suppress_debug_info = True
litellm.telemetry = False

TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": CITY}}
    for name in NAMES
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiteLLM:
    """Asks through LiteLLM, which is told in front of a model's name how to speak."""

    spoken: str
    base: str
    key: str

    def ask(self, model: str, messages: list[Any], **options: Any) -> Any:
        return litellm.completion(
            model=f"{self.spoken}/{model}",
            api_base=self.base,
            api_key=self.key,
            messages=messages,
            max_retries=0,
            **options,
        )

    def embed(self, model: str, texts: list[str]) -> Any:
        return litellm.embedding(
            model=f"{self.spoken}/{model}",
            api_base=self.base,
            api_key=self.key,
            input=texts,
            max_retries=0,
        )


Feature = Callable[[LiteLLM, str], None]


@contextlib.contextmanager
def open_openai(url: str, key: str) -> Iterator[LiteLLM]:
    """A client that speaks OpenAI's format."""
    yield LiteLLM(spoken="openai", base=f"{url}/v1", key=key)


@contextlib.contextmanager
def open_anthropic(url: str, key: str) -> Iterator[LiteLLM]:
    """A client that speaks Anthropic's format."""
    yield LiteLLM(spoken="anthropic", base=url, key=key)


def _plain(client: LiteLLM, model: str) -> None:
    answer = client.ask(model, QUESTION, temperature=0.5)
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage.completion_tokens > 0


def _streamed(client: LiteLLM, model: str) -> None:
    chunks = list(client.ask(model, QUESTION, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].usage.completion_tokens > 0


def _tools(client: LiteLLM, model: str) -> None:
    answer = client.ask(model, BOTH, tools=TOOLS)
    _continue(client, model, answer.choices[0].message)


def _streamed_tools(client: LiteLLM, model: str) -> None:
    chunks = list(client.ask(model, BOTH, tools=TOOLS, stream=True))
    whole: Any = litellm.stream_chunk_builder(chunks, messages=BOTH)
    _continue(client, model, whole.choices[0].message)


def _continue(client: LiteLLM, model: str, message: Any) -> None:
    turn = message.model_dump(exclude_none=True)
    assert [call["function"]["name"] for call in turn["tool_calls"]] == NAMES
    assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in turn["tool_calls"])
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "Fine."} for call in turn["tool_calls"]
    ]
    assert client.ask(model, [*BOTH, turn, *results], tools=TOOLS).choices[0].message.content


def _schema(client: LiteLLM, model: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    answer = client.ask(model, QUESTION, response_format=form)
    assert json.loads(answer.choices[0].message.content).keys() == {"answer"}


def _text(client: LiteLLM, model: str) -> None:
    _embed(client, model, TEXTS[:1])


def _batch(client: LiteLLM, model: str) -> None:
    _embed(client, model, TEXTS)


def _embed(client: LiteLLM, model: str, texts: list[str]) -> None:
    told = client.embed(model, texts)
    vectors = [item["embedding"] for item in told.data]
    assert vectors == [vector_of(text, len(vectors[0])) for text in texts]
    assert told.usage.prompt_tokens > 0


FEATURES: Mapping[str, Feature] = {
    "plain": _plain,
    "streamed": _streamed,
    "tools and their results": _tools,
    "streamed tools": _streamed_tools,
    "structured output": _schema,
}
EMBEDDING_FEATURES: Mapping[str, Feature] = {"one text": _text, "a batch": _batch}
