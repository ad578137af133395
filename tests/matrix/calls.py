"""Calls of all kinds, as many as wanted, the same for the same seed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.matrix.clients.openai_embeddings import DIMENSIONS
from tests.matrix.market import Vendor
from tests.matrix.questions import ANSWER, CITY, SCHEMA
from tests.matrix.rows import REFUSED

Fields = dict[str, Any]

COUNTRIES = ("France", "Japan", "Kenya", "Peru", "Norway")
TOOLS = ("get_weather", "get_time", "get_price", "find_flight")
EFFORTS = ("low", "medium", "high")
LEAST_BUDGET_TOKENS = 1_024
EMBEDDINGS = "/v1/embeddings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request over HTTP. `mark` stands at the end of its prompt and in no other's."""

    mark: str
    vendor: Vendor
    path: str
    body: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What a call is to ask for, in no format's words. `results` are of tools that the model is said to have called."""

    model: str
    document: str
    is_marked: bool
    question: str
    tools: tuple[str, ...]
    results: int
    wants_schema: bool
    effort: str | None
    choices: int
    limit: int | None
    stream: bool


def generate(vendors: Sequence[Vendor], *, count: int, seed: int) -> Iterator[Call]:
    """So many calls, spread over vendors and formats."""
    chance = Random(seed)
    documents = [_document(chance, tokens=tokens) for tokens in (1_100, 1_300, 1_700, 2_400)]
    for number in range(count):
        vendor = vendors[number % len(vendors)]
        path = chance.choice([path for path in _FORMATS if path != EMBEDDINGS or vendor.embeds])
        mark = f"call-{seed}-{number:06}"
        plan = _plan(chance, vendor, path, documents, mark)
        yield Call(mark=mark, vendor=vendor, path=path, body=_FORMATS[path](plan))


def _document(chance: Random, *, tokens: int) -> str:
    """Something long, to be asked about again and again."""
    return " ".join(chance.choice(("apple", "river", "stone", "cloud", "light")) for _ in range(tokens))


def _shown(chance: Random, documents: Sequence[str]) -> str:
    """Mostly none, or one that was shown before, so that a cache knows it; now and then a new one."""
    match chance.choices(("none", "known", "new"), weights=(50, 35, 15)):
        case ["known"]:
            return chance.choice(documents)
        case ["new"]:
            return _document(chance, tokens=chance.randint(1_030, 1_400))
        case _:
            return ""


def _plan(chance: Random, vendor: Vendor, path: str, documents: Sequence[str], mark: str) -> _Plan:
    tools = tuple(chance.sample(TOOLS, chance.randint(1, 4))) if chance.random() < 0.4 else ()
    called = tools[: chance.randint(0, len(tools))]
    results = len(called) if chance.random() < 0.5 else 0
    question = chance.choice(
        (
            f"What is the capital of {chance.choice(COUNTRIES)}?",
            f"What is {chance.randint(1, 999)} + {chance.randint(1, 999)}?",
            f"Tell me about it in {chance.randint(5, 120)} words",
        )
    )
    several = path == "/v1/chat/completions" and ("several choices", vendor.wire_format) not in REFUSED
    return _Plan(
        model=vendor.embedder if path == EMBEDDINGS else vendor.policy,
        document=_shown(chance, documents),
        is_marked=chance.random() < 0.7,
        question=" ".join([*(f"Use {name}." for name in called), question, f"({mark})"]),
        tools=tools,
        results=results,
        wants_schema=not tools and chance.random() < 0.15,
        effort=chance.choice(EFFORTS) if chance.random() < 0.3 else None,
        choices=chance.randint(2, 3) if several and chance.random() < 0.2 else 1,
        limit=chance.choice((1, 7, 40, 150, 600, 5_000)) if chance.random() < 0.6 else None,
        stream=chance.random() < 0.5,
    )


def _chat(plan: _Plan) -> Fields:
    messages: list[Fields] = []
    if plan.document:
        mark = {"cache_control": {"type": "ephemeral"}} if plan.is_marked else {}
        messages.append({"role": "system", "content": [{"type": "text", "text": plan.document, **mark}]})
    messages.append({"role": "user", "content": plan.question})
    if plan.results:
        called = [
            {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": _ARGUMENTS}}
            for place, name in enumerate(plan.tools[: plan.results])
        ]
        messages.append({"role": "assistant", "content": None, "tool_calls": called})
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": ANSWER} for call in called]
    body: Fields = {"model": plan.model, "messages": messages}
    if plan.tools:
        body["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": CITY}} for name in plan.tools
        ]
    if plan.wants_schema:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
        }
    if plan.effort is not None:
        body["reasoning_effort"] = plan.effort
    if plan.choices > 1:
        body["n"] = plan.choices
    if plan.limit is not None:
        body["max_completion_tokens"] = plan.limit
    if plan.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _responses(plan: _Plan) -> Fields:
    items: list[Fields] = [{"role": "user", "content": plan.question}]
    called = list(enumerate(plan.tools[: plan.results]))
    items += [
        {"type": "function_call", "call_id": f"call_{place}", "name": name, "arguments": _ARGUMENTS}
        for place, name in called
    ]
    items += [
        {"type": "function_call_output", "call_id": f"call_{place}", "output": ANSWER} for place, _ in called
    ]
    body: Fields = {"model": plan.model, "input": items, "stream": plan.stream}
    if plan.document:
        body["instructions"] = plan.document
    if plan.tools:
        body["tools"] = [{"type": "function", "name": name, "parameters": CITY} for name in plan.tools]
    if plan.wants_schema:
        body["text"] = {"format": {"type": "json_schema", "name": "answer", "strict": True, "schema": SCHEMA}}
    if plan.effort is not None:
        body["reasoning"] = {"effort": plan.effort}
    if plan.limit is not None:
        body["max_output_tokens"] = plan.limit
    return body


def _messages(plan: _Plan) -> Fields:
    turns: list[Fields] = [{"role": "user", "content": plan.question}]
    if plan.results:
        called = [
            {"type": "tool_use", "id": f"toolu_{place}", "name": name, "input": json.loads(_ARGUMENTS)}
            for place, name in enumerate(plan.tools[: plan.results])
        ]
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": ANSWER} for call in called]
        turns += [{"role": "assistant", "content": called}, {"role": "user", "content": results}]
    body: Fields = {
        "model": plan.model,
        "max_tokens": plan.limit or 4_000,
        "messages": turns,
        "stream": plan.stream,
    }
    if plan.document:
        mark = {"cache_control": {"type": "ephemeral"}} if plan.is_marked else {}
        body["system"] = [{"type": "text", "text": plan.document, **mark}]
    if plan.tools:
        body["tools"] = [{"name": name, "input_schema": CITY} for name in plan.tools]
    if plan.wants_schema:
        body["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
    if plan.effort is not None and body["max_tokens"] > LEAST_BUDGET_TOKENS:
        body["thinking"] = {"type": "enabled", "budget_tokens": LEAST_BUDGET_TOKENS}
    return body


def _embeddings(plan: _Plan) -> Fields:
    """Whatever there is to say, as texts."""
    texts = [text for text in (plan.document, *plan.tools, plan.question) if text]
    body: Fields = {"model": plan.model, "input": texts if len(texts) > 1 else texts[0]}
    if plan.wants_schema:
        body["dimensions"] = DIMENSIONS
    return body


_ARGUMENTS = '{"city":"Paris"}'
_FORMATS: Mapping[str, Callable[[_Plan], Fields]] = {
    "/v1/chat/completions": _chat,
    "/v1/responses": _responses,
    "/v1/messages": _messages,
    EMBEDDINGS: _embeddings,
}
