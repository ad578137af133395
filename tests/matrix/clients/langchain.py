"""LangChain's client of OpenAI's API, told of nothing but where the gateway is."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pydantic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

from sandbox.embeddings import vector_of
from tests.matrix.questions import ANSWER, CAPITAL, NAMES, PIXEL, TEXTS, TOOLS_WANTED


class Answer(pydantic.BaseModel):
    """What was asked for."""

    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LangChain:
    """Makes LangChain's models."""

    url: str
    key: str

    def model(self, name: str, **options: Any) -> ChatOpenAI:
        return ChatOpenAI(
            model=name,
            base_url=f"{self.url}/v1",
            api_key=pydantic.SecretStr(self.key),
            max_retries=0,
            **options,
        )

    def embeddings(self, name: str) -> OpenAIEmbeddings:
        return OpenAIEmbeddings(
            model=name,
            base_url=f"{self.url}/v1",
            api_key=pydantic.SecretStr(self.key),
            max_retries=0,
            # Otherwise it downloads a tokenizer, and sends what that makes of the texts.
            check_embedding_ctx_length=False,
        )


Feature = Callable[[LangChain, str], None]


@contextlib.contextmanager
def open_client(url: str, key: str) -> Iterator[LangChain]:
    """A client of the gateway at `url`."""
    yield LangChain(url=url, key=key)


def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"Fine in {city}."


def get_time(city: str) -> str:
    """Return the time in a city."""
    return f"Noon in {city}."


def _plain(client: LangChain, model: str) -> None:
    answer = client.model(model, temperature=0.5).invoke(CAPITAL)
    assert answer.text == ANSWER
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["output_tokens"] > 0


def _streamed(client: LangChain, model: str) -> None:
    _check_stream(client.model(model, stream_usage=True))


def _streamed_responses(client: LangChain, model: str) -> None:
    _check_stream(client.model(model, use_responses_api=True))


def _check_stream(model: ChatOpenAI) -> None:
    whole: Any = None
    for chunk in model.stream(CAPITAL):
        whole = chunk if whole is None else whole + chunk
    assert whole.text == ANSWER
    assert whole.usage_metadata["output_tokens"] > 0


def _tools(client: LangChain, model: str) -> None:
    _check_tools(client.model(model))


def _tools_of_responses(client: LangChain, model: str) -> None:
    """What was thought is carried back with the results."""
    _check_tools(
        client.model(
            model,
            use_responses_api=True,
            reasoning={"effort": "low"},
            include=["reasoning.encrypted_content"],
            max_tokens=2_000,
        )
    )


def _check_tools(model: ChatOpenAI) -> None:
    able = model.bind_tools([get_weather, get_time])
    asked = HumanMessage(TOOLS_WANTED)
    answer: Any = able.invoke([asked])
    assert [call["name"] for call in answer.tool_calls] == NAMES
    results = [ToolMessage("Fine.", tool_call_id=call["id"]) for call in answer.tool_calls]
    assert able.invoke([asked, answer, *results]).text


def _streamed_tools(client: LangChain, model: str) -> None:
    whole: Any = None
    for chunk in client.model(model).bind_tools([get_weather, get_time]).stream(TOOLS_WANTED):
        whole = chunk if whole is None else whole + chunk
    assert [call["name"] for call in whole.tool_calls] == NAMES


def _schema(client: LangChain, model: str) -> None:
    assert isinstance(client.model(model).with_structured_output(Answer).invoke(CAPITAL), Answer)


def _called_schema(client: LangChain, model: str) -> None:
    """The schema as a tool that has to be called."""
    able = client.model(model).with_structured_output(Answer, method="function_calling")
    assert isinstance(able.invoke(CAPITAL), Answer)


def _vision(client: LangChain, model: str) -> None:
    picture = {"type": "image", "base64": PIXEL, "mime_type": "image/png"}
    assert client.model(model).invoke([HumanMessage([picture, {"type": "text", "text": "What is it?"}])]).text


def _query(client: LangChain, model: str) -> None:
    vector = client.embeddings(model).embed_query(TEXTS[0])
    assert vector == vector_of(TEXTS[0], len(vector))


def _documents(client: LangChain, model: str) -> None:
    vectors = client.embeddings(model).embed_documents(TEXTS)
    assert vectors == [vector_of(text, len(vectors[0])) for text in TEXTS]


FEATURES: Mapping[str, Feature] = {
    "plain": _plain,
    "streamed": _streamed,
    "tools and their results": _tools,
    "streamed tools": _streamed_tools,
    "structured output": _schema,
    "structured output, as a tool": _called_schema,
    "vision": _vision,
    "responses, streamed": _streamed_responses,
    "responses, reasoning and tools": _tools_of_responses,
}
EMBEDDING_FEATURES: Mapping[str, Feature] = {"a query": _query, "documents": _documents}
