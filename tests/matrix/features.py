"""What the official clients can ask for, each as a function that asks and checks what comes back.

Every function takes its client and the name to call, and raises where an answer is not what it should be.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import anthropic
import openai

from policies_app.routing.codes import WireFeature, WireFormat

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
ANSWER = "The capital of France is Paris."
LINK = "https://example.com/cat.png"
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
NAMES = ["get_weather", "get_time"]
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
BOTH: list[Any] = [{"role": "user", "content": "Use get_weather and get_time for Paris."}]
OPENAI_TOOLS: list[Any] = [
    {"type": "function", "function": {"name": name, "parameters": CITY}} for name in NAMES
]
ANTHROPIC_TOOLS: list[Any] = [{"name": name, "input_schema": CITY} for name in NAMES]

OpenAIFeature = Callable[[openai.OpenAI, str], None]
AnthropicFeature = Callable[[anthropic.Anthropic, str], None]


def _openai_plain(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=QUESTION, temperature=0.5, stop=["END"])
    assert answer.choices[0].message.content == ANSWER
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 0 < answer.usage.completion_tokens


def _openai_stream(client: openai.OpenAI, model: str) -> None:
    chunks = list(
        client.chat.completions.create(
            model=model, messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert chunks[-1].usage is not None


def _openai_tools(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=BOTH, tools=OPENAI_TOOLS)
    _check_openai_calls(answer.choices[0].message)
    turn: Any = answer.choices[0].message.model_dump(exclude_none=True)
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call["id"], "content": "Fine."} for call in turn["tool_calls"]
    ]
    told = client.chat.completions.create(model=model, messages=[*BOTH, turn, *results], tools=OPENAI_TOOLS)
    assert told.choices[0].message.content


def _openai_streamed_tools(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.stream(model=model, messages=BOTH, tools=OPENAI_TOOLS) as stream:
        _check_openai_calls(stream.get_final_completion().choices[0].message)


def _check_openai_calls(message: Any) -> None:
    assert [call.function.name for call in message.tool_calls] == NAMES
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in message.tool_calls)


def _openai_tool_choice(client: openai.OpenAI, model: str) -> None:
    named: Any = {"type": "function", "function": {"name": "get_time"}}
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, tools=OPENAI_TOOLS, tool_choice=named
    )
    calls: Any = answer.choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["get_time"]


def _openai_schema(client: openai.OpenAI, model: str) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}}
    answer = client.chat.completions.create(model=model, messages=QUESTION, response_format=form)
    assert json.loads(answer.choices[0].message.content or "").keys() == {"answer"}


def _openai_vision(client: openai.OpenAI, model: str) -> None:
    _ask_openai_of_picture(client, model, f"data:image/png;base64,{PIXEL}")


def _openai_linked_vision(client: openai.OpenAI, model: str) -> None:
    _ask_openai_of_picture(client, model, LINK)


def _ask_openai_of_picture(client: openai.OpenAI, model: str, url: str) -> None:
    parts: Any = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content


def _openai_reasoning(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(
        model=model, messages=QUESTION, reasoning_effort="low", max_completion_tokens=2_000
    )
    assert answer.choices[0].message.content == ANSWER


def _openai_seed(client: openai.OpenAI, model: str) -> None:
    assert client.chat.completions.create(model=model, messages=QUESTION, seed=7).choices[0].message.content


def _openai_choices(client: openai.OpenAI, model: str) -> None:
    assert len(client.chat.completions.create(model=model, messages=QUESTION, n=2).choices) == 2


def _openai_logprobs(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=QUESTION, logprobs=True)
    assert answer.choices[0].logprobs is not None


def _openai_cancelled(client: openai.OpenAI, model: str) -> None:
    with client.chat.completions.create(model=model, messages=QUESTION, stream=True) as stream:
        assert next(iter(stream)).choices


def _anthropic_plain(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(
        model=model, max_tokens=100, system="Be brief.", messages=QUESTION, stop_sequences=["END"]
    )
    assert _text(answer) == ANSWER
    assert answer.usage.input_tokens > 0 < answer.usage.output_tokens


def _anthropic_stream(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=100, messages=QUESTION) as stream:
        answer = stream.get_final_message()
    assert _text(answer) == ANSWER
    assert answer.usage.output_tokens > 0


def _text(answer: Any) -> str:
    return "".join(block.text for block in answer.content if block.type == "text")


def _anthropic_tools(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(model=model, max_tokens=500, messages=BOTH, tools=ANTHROPIC_TOOLS)
    calls = _check_anthropic_calls(answer)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "Fine."} for call in calls]
    turns: list[Any] = [
        *BOTH,
        {"role": "assistant", "content": answer.content},
        {"role": "user", "content": results},
    ]
    told = client.messages.create(model=model, max_tokens=500, messages=turns, tools=ANTHROPIC_TOOLS)
    assert _text(told)


def _anthropic_streamed_tools(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=500, messages=BOTH, tools=ANTHROPIC_TOOLS) as stream:
        _check_anthropic_calls(stream.get_final_message())


def _check_anthropic_calls(answer: Any) -> list[Any]:
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert [call.name for call in calls] == NAMES
    assert all(isinstance(call.input, dict) for call in calls)
    assert answer.stop_reason == "tool_use"
    return calls


def _anthropic_tool_choice(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(
        model=model,
        max_tokens=500,
        messages=QUESTION,
        tools=ANTHROPIC_TOOLS,
        tool_choice={"type": "tool", "name": "get_time"},
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["get_time"]


def _anthropic_schema(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(
        model=model,
        max_tokens=500,
        messages=QUESTION,
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )
    assert json.loads(_text(answer)).keys() == {"answer"}


def _anthropic_vision(client: anthropic.Anthropic, model: str) -> None:
    _ask_anthropic_of_picture(client, model, {"type": "base64", "media_type": "image/png", "data": PIXEL})


def _anthropic_linked_vision(client: anthropic.Anthropic, model: str) -> None:
    _ask_anthropic_of_picture(client, model, {"type": "url", "url": LINK})


def _ask_anthropic_of_picture(client: anthropic.Anthropic, model: str, source: Any) -> None:
    content: Any = [{"type": "image", "source": source}, {"type": "text", "text": "What is it?"}]
    answer = client.messages.create(
        model=model, max_tokens=100, messages=[{"role": "user", "content": content}]
    )
    assert _text(answer)


def _anthropic_reasoning(client: anthropic.Anthropic, model: str) -> None:
    answer = client.messages.create(
        model=model,
        max_tokens=2_000,
        messages=QUESTION,
        thinking={"type": "enabled", "budget_tokens": 1_024},
    )
    assert _text(answer) == ANSWER


def _anthropic_begun(client: anthropic.Anthropic, model: str) -> None:
    turns: list[Any] = [*QUESTION, {"role": "assistant", "content": "The capital"}]
    assert _text(client.messages.create(model=model, max_tokens=100, messages=turns))


def _anthropic_cancelled(client: anthropic.Anthropic, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=100, messages=QUESTION) as stream:
        assert next(iter(stream.text_stream))


OPENAI: Mapping[str, OpenAIFeature] = {
    "plain": _openai_plain,
    "streamed": _openai_stream,
    "tools and their results": _openai_tools,
    "streamed tools": _openai_streamed_tools,
    "named tool": _openai_tool_choice,
    "structured output": _openai_schema,
    "vision": _openai_vision,
    "vision by address": _openai_linked_vision,
    "reasoning": _openai_reasoning,
    "cancelled": _openai_cancelled,
    "seed": _openai_seed,
    "several choices": _openai_choices,
    "logprobs": _openai_logprobs,
}
ANTHROPIC: Mapping[str, AnthropicFeature] = {
    "plain": _anthropic_plain,
    "streamed": _anthropic_stream,
    "tools and their results": _anthropic_tools,
    "streamed tools": _anthropic_streamed_tools,
    "named tool": _anthropic_tool_choice,
    "structured output": _anthropic_schema,
    "vision": _anthropic_vision,
    "vision by address": _anthropic_linked_vision,
    "reasoning": _anthropic_reasoning,
    "cancelled": _anthropic_cancelled,
    "answer begun": _anthropic_begun,
}
REFUSED: Mapping[tuple[str, WireFormat], WireFeature] = {
    ("seed", WireFormat.ANTHROPIC_MESSAGES): WireFeature.SEED,
    ("seed", WireFormat.BEDROCK_CONVERSE): WireFeature.SEED,
    ("several choices", WireFormat.ANTHROPIC_MESSAGES): WireFeature.MULTIPLE_CHOICES,
    ("several choices", WireFormat.BEDROCK_CONVERSE): WireFeature.MULTIPLE_CHOICES,
    ("logprobs", WireFormat.ANTHROPIC_MESSAGES): WireFeature.LOGPROBS,
    ("logprobs", WireFormat.BEDROCK_CONVERSE): WireFeature.LOGPROBS,
    ("logprobs", WireFormat.GEMINI): WireFeature.LOGPROBS,
    ("vision by address", WireFormat.BEDROCK_CONVERSE): WireFeature.IMAGE_URLS,
    ("answer begun", WireFormat.OPENAI_CHAT): WireFeature.ANSWER_BEGUN,
    ("answer begun", WireFormat.GEMINI): WireFeature.ANSWER_BEGUN,
}
"""What a vendor's format has no words for, and by which name the refusal tells it. Everything else passes."""
