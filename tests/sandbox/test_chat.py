"""The official client cannot tell the sandbox from a vendor."""

import json
import math

import httpx
import openai
import pytest
from openai import AsyncOpenAI

from sandbox.server import SandboxServer

CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]


async def test_a_plain_reply_has_the_shape_of_the_api(client: AsyncOpenAI):
    completion = await client.chat.completions.create(model="sandbox-frontier", messages=CAPITAL)

    assert completion.id.startswith("chatcmpl-")
    assert completion.object == "chat.completion"
    assert completion.model == "sandbox-frontier"
    assert completion.system_fingerprint.startswith("fp_")
    assert completion.choices[0].message.role == "assistant"
    assert completion.choices[0].message.content == "The capital of France is Paris."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].logprobs is None


async def test_usage_adds_up_and_names_its_details(client: AsyncOpenAI):
    completion = await client.chat.completions.create(
        model="sandbox-small", messages=CAPITAL, reasoning_effort="low"
    )
    usage = completion.usage

    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens_details.reasoning_tokens == 16
    assert usage.completion_tokens > 16
    assert usage.prompt_tokens_details.cached_tokens == 0


async def test_every_choice_reasons_and_is_counted(client: AsyncOpenAI):
    completion = await client.chat.completions.create(
        model="sandbox-small", messages=CAPITAL, reasoning_effort="medium", n=2, max_completion_tokens=65
    )

    assert completion.usage.completion_tokens_details.reasoning_tokens == 2 * 64
    assert completion.usage.completion_tokens == 2 * 65


async def test_a_stream_says_the_same_as_a_plain_reply(client: AsyncOpenAI):
    plain = await client.chat.completions.create(model="sandbox-mid", messages=CAPITAL)
    stream = await client.chat.completions.create(
        model="sandbox-mid", messages=CAPITAL, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]

    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == plain.choices[0].message.content
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage == plain.usage
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_a_stream_reports_no_usage_unless_asked(client: AsyncOpenAI):
    stream = await client.chat.completions.create(model="sandbox-mid", messages=CAPITAL, stream=True)

    assert all([chunk.choices and chunk.usage is None async for chunk in stream])


async def test_max_tokens_cuts_the_reply_and_says_so(client: AsyncOpenAI):
    completion = await client.chat.completions.create(
        model="sandbox-frontier", messages=CAPITAL, max_completion_tokens=3
    )

    assert completion.choices[0].finish_reason == "length"
    assert completion.usage.completion_tokens == 3


async def test_reasoning_uses_up_the_same_limit(client: AsyncOpenAI):
    completion = await client.chat.completions.create(
        model="sandbox-frontier", messages=CAPITAL, max_completion_tokens=20, reasoning_effort="low"
    )

    assert completion.usage.completion_tokens == 20
    assert completion.usage.completion_tokens_details.reasoning_tokens == 16


async def test_a_stop_sequence_ends_the_reply_before_it(client: AsyncOpenAI):
    completion = await client.chat.completions.create(
        model="sandbox-frontier", messages=CAPITAL, stop=[" is"]
    )

    assert completion.choices[0].message.content == "The capital of France"
    assert completion.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("streamed", [False, True])
async def test_n_choices_are_told_apart(client: AsyncOpenAI, streamed: bool):
    asked = {
        "model": "sandbox-frontier",
        "messages": [{"role": "user", "content": "Tell me a story"}],
        "n": 3,
    }
    texts = ["", "", ""]

    if streamed:
        async for chunk in await client.chat.completions.create(**asked, stream=True):
            texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    else:
        for choice in (await client.chat.completions.create(**asked)).choices:
            texts[choice.index] = choice.message.content

    assert all(texts)
    assert len(set(texts)) > 1


async def test_logprobs_spell_out_the_reply(client: AsyncOpenAI):
    completion = await client.chat.completions.create(
        model="sandbox-frontier", messages=CAPITAL, logprobs=True, top_logprobs=3
    )
    content = completion.choices[0].logprobs.content

    assert "".join(entry.token for entry in content) == completion.choices[0].message.content
    assert all(-math.inf < entry.logprob <= 0 and len(entry.top_logprobs) == 3 for entry in content)


async def test_streamed_logprobs_are_those_of_the_plain_reply(client: AsyncOpenAI):
    asked = {"model": "sandbox-mid", "messages": CAPITAL, "logprobs": True, "top_logprobs": 2}
    plain = await client.chat.completions.create(**asked)
    streamed = [
        entry
        async for chunk in await client.chat.completions.create(**asked, stream=True)
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]

    assert streamed == plain.choices[0].logprobs.content


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
            "required": ["city", "days"],
        },
    },
}


@pytest.mark.parametrize(
    ("tool_choice", "question"),
    [
        ("required", "How is it outside?"),
        ({"type": "function", "function": {"name": "get_weather"}}, "How is it outside?"),
        ("auto", "Please call get_weather for Oslo."),
    ],
)
async def test_a_tool_is_called_when_demanded_or_named(client: AsyncOpenAI, tool_choice, question: str):
    completion = await client.chat.completions.create(
        model="sandbox-frontier",
        messages=[{"role": "user", "content": question}],
        tools=[WEATHER],
        tool_choice=tool_choice,
    )
    message = completion.choices[0].message

    assert completion.choices[0].finish_reason == "tool_calls"
    assert message.content is None
    assert message.tool_calls[0].function.name == "get_weather"
    assert json.loads(message.tool_calls[0].function.arguments)["days"] >= 2


async def test_no_tool_is_called_unasked_or_after_its_result(client: AsyncOpenAI):
    unasked = await client.chat.completions.create(model="sandbox-mid", messages=CAPITAL, tools=[WEATHER])
    called = {
        "role": "assistant",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        ],
    }
    told = await client.chat.completions.create(
        model="sandbox-mid",
        messages=[
            {"role": "user", "content": "call get_weather"},
            called,
            {"role": "tool", "tool_call_id": "1", "content": "sunny"},
        ],
        tools=[WEATHER],
    )

    assert unasked.choices[0].finish_reason == told.choices[0].finish_reason == "stop"


async def test_streamed_tool_arguments_join_to_json(client: AsyncOpenAI):
    stream = await client.chat.completions.create(
        model="sandbox-mid", messages=CAPITAL, tools=[WEATHER], tool_choice="required", stream=True
    )
    arguments, names = "", []
    async for chunk in stream:
        for call in chunk.choices[0].delta.tool_calls or ():
            arguments += call.function.arguments
            names += [call.function.name] if call.function.name else []

    assert names == ["get_weather"]
    assert set(json.loads(arguments)) == {"city", "days"}


async def test_a_json_schema_is_honoured(client: AsyncOpenAI):
    schema = {
        "type": "object",
        "properties": {
            "answer": {"type": "string"},
            "confidence": {"type": "number", "minimum": 0, "maximum": 1},
            "label": {"enum": ["spam", "ham"]},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}, "minItems": 2},
        },
        "$defs": {"part": {"type": "object", "properties": {"n": {"type": ["integer", "null"]}}}},
    }
    completion = await client.chat.completions.create(
        model="sandbox-frontier",
        messages=CAPITAL,
        response_format={"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}},
    )
    value = json.loads(completion.choices[0].message.content)

    assert value["answer"] == "The capital of France is Paris."
    assert 0.7 < value["confidence"] <= 1
    assert value["label"] == "spam"
    assert value["parts"] == [{"n": 1}, {"n": 1}]


async def test_a_long_prefix_is_cached_the_second_time(client: AsyncOpenAI):
    messages = [{"role": "system", "content": "Be brief. " * 600}, *CAPITAL]
    first = await client.chat.completions.create(model="sandbox-small", messages=messages)
    second = await client.chat.completions.create(model="sandbox-small", messages=messages)

    assert first.usage.prompt_tokens_details.cached_tokens == 0
    assert 1024 <= second.usage.prompt_tokens_details.cached_tokens <= second.usage.prompt_tokens


async def test_the_models_are_listed(client: AsyncOpenAI):
    assert [model.id async for model in client.models.list()] == [
        "sandbox-small",
        "sandbox-mid",
        "sandbox-frontier",
        "sandbox-reasoner",
        "sandbox-embedding",
    ]
    assert (await client.models.retrieve("sandbox-mid")).owned_by == "sandbox"


@pytest.mark.parametrize(
    ("fields", "code", "message"),
    [
        (
            {"max_tokens": 50},
            "unsupported_parameter",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        ),
        (
            {"temperature": 0.2},
            "unsupported_value",
            "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
        ),
        (
            {"stop": ["END"]},
            "unsupported_parameter",
            "Unsupported parameter: 'stop' is not supported with this model.",
        ),
    ],
)
async def test_a_reasoning_model_refuses_parameters_in_openais_words(
    client: AsyncOpenAI, fields, code, message
):
    """Words: learn.microsoft.com, "Azure OpenAI reasoning models", section "Not supported"; and the API's own."""
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="sandbox-reasoner", messages=CAPITAL, **fields)

    assert (refused.value.param, refused.value.code) == (*fields, code)
    assert refused.value.body["message"] == message


async def test_a_reasoning_model_takes_the_rest_and_thinks_unasked(client: AsyncOpenAI):
    completion = await client.chat.completions.create(
        model="sandbox-reasoner", messages=CAPITAL, max_completion_tokens=500, temperature=1
    )

    assert completion.usage.completion_tokens_details.reasoning_tokens == 64


async def test_an_unknown_model_is_not_found(client: AsyncOpenAI):
    with pytest.raises(openai.NotFoundError) as failure:
        await client.chat.completions.create(model="sandbox-huge", messages=CAPITAL)

    assert failure.value.code == "model_not_found"


@pytest.mark.parametrize(
    "wrong",
    [
        {"messages": []},
        {"n": 0},
        {"max_tokens": -1},
        {"messages": "hi"},
        {"top_logprobs": 99, "logprobs": True},
    ],
)
async def test_a_bad_request_is_refused(client: AsyncOpenAI, wrong: dict):
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(**{"model": "sandbox-mid", "messages": CAPITAL, **wrong})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"model":"sandbox-mid","messages":[{"role":"user","content":"\\ud800"}]}',
        b'{"model":"sandbox-mid","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"model":"sandbox-mid","messages":[{"role":"user"}],"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        (
            b'{"model":"sandbox-mid","messages":[{"role":"user"}],"response_format":'
            b'{"type":"json_schema","json_schema":{"name":"x","schema":{"properties":7}}}}'
        ),
    ],
    ids=["empty", "cut", "array", "no-text", "surrogate", "deep", "deep-unknown", "schema"],
)
async def test_a_body_that_cannot_be_read_is_refused(sandbox: SandboxServer, body: bytes):
    async with httpx.AsyncClient(base_url=sandbox.base_url, trust_env=False) as client:
        reply = await client.post("/chat/completions", content=body, headers={"authorization": "Bearer x"})

    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"


async def test_a_prompt_beyond_the_context_is_refused(client: AsyncOpenAI):
    with pytest.raises(openai.BadRequestError) as failure:
        await client.chat.completions.create(
            model="sandbox-small", messages=[{"role": "user", "content": "word " * 17_000}]
        )

    assert failure.value.code == "context_length_exceeded"


@pytest.mark.parametrize(("key", "admitted"), [("right", True), ("wrong", False)])
async def test_a_required_key_is_checked(key: str, admitted: bool):
    async with (
        SandboxServer(api_key="right") as server,
        AsyncOpenAI(base_url=server.base_url, api_key=key) as client,
    ):
        if admitted:
            assert [model async for model in client.models.list()]
        else:
            with pytest.raises(openai.AuthenticationError) as failure:
                await client.models.list()
            assert failure.value.code == "invalid_api_key"
