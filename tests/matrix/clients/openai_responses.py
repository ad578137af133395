"""OpenAI's own client, as it asks for responses."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import openai
import pydantic

from tests.matrix.clients.openai_chat import open_client
from tests.matrix.questions import ANSWER, CAPITAL, CITY, LINK, NAMES, PIXEL, SCHEMA, TOOLS_WANTED

TOOLS: list[Any] = [{"type": "function", "name": name, "parameters": CITY, "strict": False} for name in NAMES]

Feature = Callable[[openai.OpenAI, str], None]

__all__ = ["FEATURES", "open_client", "plain", "streamed"]


class _Answer(pydantic.BaseModel):
    answer: str


def plain(client: openai.OpenAI, model: str, text: str = CAPITAL) -> Any:
    """Ask for a whole answer."""
    return client.responses.create(model=model, input=text, instructions="Be brief.", temperature=0.5)


def streamed(client: openai.OpenAI, model: str) -> list[Any]:
    """Ask for an answer bit by bit; all of its events."""
    return list(client.responses.create(model=model, input=CAPITAL, stream=True))


def _plain(client: openai.OpenAI, model: str) -> None:
    response = plain(client, model)
    assert (response.status, response.output_text) == ("completed", ANSWER)
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0


def _streamed(client: openai.OpenAI, model: str) -> None:
    *events, last = streamed(client, model)
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    assert (last.type, last.response.output_text) == ("response.completed", ANSWER)
    assert last.response.usage.output_tokens > 0


def _accumulated(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=CAPITAL) as stream:
        assert stream.get_final_response().output_text == ANSWER


def _tools(client: openai.OpenAI, model: str) -> None:
    asked: list[Any] = [{"role": "user", "content": TOOLS_WANTED}]
    first = client.responses.create(model=model, input=asked, tools=TOOLS)
    assert client.responses.create(
        model=model, input=[*asked, *_answered(first)], tools=TOOLS, store=False
    ).output_text


def _streamed_tools(client: openai.OpenAI, model: str) -> None:
    with client.responses.stream(model=model, input=TOOLS_WANTED, tools=TOOLS) as stream:
        _answered(stream.get_final_response())


def _answered(response: Any) -> list[Any]:
    """All that the model gave, as it came, and the results of the tools that it called."""
    calls = [item for item in response.output if item.type == "function_call"]
    assert [call.name for call in calls] == NAMES
    assert all(isinstance(json.loads(call.arguments), dict) for call in calls)
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "Fine."} for call in calls]
    return [*response.to_dict(mode="json")["output"], *results]


def _named_tool(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(
        model=model, input=CAPITAL, tools=TOOLS, tool_choice={"type": "function", "name": "get_time"}
    )
    assert [item.name for item in response.output if item.type == "function_call"] == ["get_time"]


def _schema(client: openai.OpenAI, model: str) -> None:
    form: Any = {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA}
    response = client.responses.create(model=model, input=CAPITAL, text={"format": form})
    assert json.loads(response.output_text).keys() == {"answer"}


def _parsed(client: openai.OpenAI, model: str) -> None:
    assert client.responses.parse(model=model, input=CAPITAL, text_format=_Answer).output_parsed is not None


def _vision(client: openai.OpenAI, model: str) -> None:
    _ask_of_picture(client, model, f"data:image/png;base64,{PIXEL}")


def _linked_vision(client: openai.OpenAI, model: str) -> None:
    _ask_of_picture(client, model, LINK)


def _ask_of_picture(client: openai.OpenAI, model: str, url: str) -> None:
    parts: list[Any] = [
        {"type": "input_image", "image_url": url, "detail": "auto"},
        {"type": "input_text", "text": "What is it?"},
    ]
    assert client.responses.create(model=model, input=[{"role": "user", "content": parts}]).output_text


def _reasoning(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input=CAPITAL, **_thinking())
    assert response.output_text == ANSWER


def _reasoning_over_turns(client: openai.OpenAI, model: str) -> None:
    """What was thought goes back with the results of the tools, unread; vendors know what they have signed."""
    asked: list[Any] = [{"role": "user", "content": TOOLS_WANTED}]
    options: dict[str, Any] = {"model": model, "tools": TOOLS, **_thinking()}
    plain_turn = _answered(client.responses.create(input=asked, **options))
    with client.responses.stream(input=[*asked, *plain_turn], **options) as stream:
        assert stream.get_final_response().output_text
    with client.responses.stream(input=asked, **options) as stream:
        streamed_turn = _answered(stream.get_final_response())
    assert client.responses.create(input=[*asked, *streamed_turn], **options).output_text
    for turn in (plain_turn, streamed_turn):
        assert all(item["encrypted_content"] for item in turn if item["type"] == "reasoning")


def _thinking() -> dict[str, Any]:
    return {
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 2_000,
    }


def _cut(client: openai.OpenAI, model: str) -> None:
    response = client.responses.create(model=model, input="Tell me more in 200 words", max_output_tokens=20)
    assert response.incomplete_details is not None
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def _cancelled(client: openai.OpenAI, model: str) -> None:
    with client.responses.create(model=model, input=CAPITAL, stream=True) as stream:
        assert next(event for event in stream if event.type == "response.output_text.delta").delta


FEATURES: Mapping[str, Feature] = {
    "plain": _plain,
    "streamed": _streamed,
    "streamed, put together": _accumulated,
    "tools and their results": _tools,
    "streamed tools": _streamed_tools,
    "named tool": _named_tool,
    "structured output": _schema,
    "structured output, parsed": _parsed,
    "vision": _vision,
    "vision by address": _linked_vision,
    "reasoning": _reasoning,
    "reasoning and tools": _reasoning_over_turns,
    "cut short": _cut,
    "cancelled": _cancelled,
}
