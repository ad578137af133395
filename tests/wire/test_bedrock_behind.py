"""OpenAI's and Anthropic's official clients in front, Bedrock behind: signed requests, event streams, the vendor's own bill."""

import json
from typing import Any

import anthropic
import openai
import pytest

from policies_app.models import Credential, Model
from policies_app.routing.codes import WireFormat
from policies_app.services.credentials import set_provider_secret
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import make_provider
from tests.running_servers import ACCESS_KEY, RunningGateway
from tests.wire.behind import ANSWER, QUESTION, cost_nanos, open_to

ARN = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.sandbox-frontier:0"
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
PNG = "iVBORw0KGgo="
CLOCK: Any = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object"}}}


@pytest.fixture
def key(bedrock: SandboxServer, gateway: RunningGateway) -> str:
    """The key of a tenant whose policy `auto` has one model, named by an ARN, behind Bedrock."""
    provider = make_provider(
        base_url=bedrock.origin, wire_format=WireFormat.BEDROCK_CONVERSE, region="us-east-1"
    )
    fleet, key = open_to(provider)
    set_provider_secret(
        credential=Credential.objects.get(provider=provider), secret=ACCESS_KEY, author_name="test"
    )
    Model.objects.filter(pk=fleet.frontier.pk).update(wire_name=ARN)
    gateway.catch_up()
    return key


def test_a_plain_answer_costs_what_the_vendor_bills(client: openai.OpenAI, bedrock: SandboxServer) -> None:
    reply = client.chat.completions.create(model="auto", messages=QUESTION)

    assert reply.choices[0].message.content == ANSWER
    assert reply.choices[0].finish_reason == "stop"
    assert cost_nanos() == bedrock.ledger.total_nanos > 0
    (request,) = bedrock.journal.requests
    assert request.target == f"/model/{ARN.replace('/', '%2F')}/converse"
    assert request.header("authorization").startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")  # type: ignore[union-attr] # the vendor took it


def test_a_stream_says_the_same_and_costs_what_the_vendor_bills(
    client: openai.OpenAI, bedrock: SandboxServer
) -> None:
    chunks = list(
        client.chat.completions.create(
            model="auto", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )

    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == ANSWER
    (entry,) = bedrock.ledger.entries
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (entry.input_tokens, entry.output_tokens)
    assert cost_nanos() == bedrock.ledger.total_nanos > 0


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_in_parallel_and_answered(client: openai.OpenAI, stream: bool) -> None:
    asked: list[Any] = [{"role": "user", "content": "Use get_weather and get_time for Paris."}]
    tools = [WEATHER, CLOCK]

    if stream:
        with client.chat.completions.stream(model="auto", messages=asked, tools=tools) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(model="auto", messages=asked, tools=tools).choices[0].message

    calls = message.tool_calls or []
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]  # type: ignore[union-attr] # no other kind is offered
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)  # type: ignore[union-attr]
    results = [{"role": "tool", "tool_call_id": call.id, "content": "Fine."} for call in calls]
    turn = message.model_dump(include={"role", "content", "tool_calls"})
    answered = client.chat.completions.create(model="auto", messages=[*asked, turn, *results], tools=tools)
    assert answered.choices[0].message.content


def test_thoughts_come_back_to_the_vendor_that_signed_them(
    client: openai.OpenAI, bedrock: SandboxServer
) -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    first = client.chat.completions.create(model="auto", messages=QUESTION, extra_body=thinking)
    turn = first.choices[0].message.model_dump(include={"role", "content", "thinking_blocks"})
    assert turn["thinking_blocks"][0]["signature"].startswith("bedrock:")

    client.chat.completions.create(
        model="auto",
        messages=[*QUESTION, turn, {"role": "user", "content": "And of Spain?"}],
        extra_body=thinking,
    )

    assert b'"reasoningText"' in bedrock.journal.requests[-1].body
    assert cost_nanos() == bedrock.ledger.total_nanos > 0


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

    reply = client.chat.completions.create(
        model="auto",
        messages=QUESTION,
        response_format={"type": "json_schema", "json_schema": {"name": "place", "schema": schema}},
    )

    assert json.loads(reply.choices[0].message.content or "").keys() == {"city"}


@pytest.mark.parametrize(
    ("fault", "raised"),
    [
        ("400", openai.BadRequestError),
        ("429", openai.RateLimitError),
        ("503", openai.InternalServerError),
    ],
)
def test_the_vendors_refusals_are_told_in_the_callers_words(
    client: openai.OpenAI, bedrock: SandboxServer, fault: str, raised: type[openai.APIStatusError]
) -> None:
    bedrock.script(fault)

    with pytest.raises(raised):
        client.chat.completions.create(model="auto", messages=QUESTION)


def test_an_exception_within_a_stream_is_an_error_for_the_caller(
    client: openai.OpenAI, bedrock: SandboxServer
) -> None:
    bedrock.script(Fault(kind=FaultKind.STREAM_ERROR, status=429, after_chunks=3))

    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="auto", messages=QUESTION, stream=True))


def test_what_converse_has_no_words_for_is_never_sent_there(
    client: openai.OpenAI, bedrock: SandboxServer
) -> None:
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}

    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": [picture]}])
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="auto", messages=QUESTION, seed=7)

    assert not bedrock.journal.requests


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_clients_think_and_call_tools_over_several_turns(
    claude: anthropic.Anthropic, bedrock: SandboxServer, stream: bool
) -> None:
    """The vendor checks the signatures that come back, and that every call has its result."""
    asked: Any = {
        "model": "auto",
        "max_tokens": 2_000,
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "tools": [{"name": "get_weather", "input_schema": WEATHER["function"]["parameters"]}],
        "messages": [{"role": "user", "content": "Use get_weather for Paris."}],
    }
    if stream:
        with claude.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(**asked)

    assert [block.type for block in message.content] == ["thinking", "tool_use"]
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    result = {
        "type": "tool_result",
        "tool_use_id": message.content[1].id,  # type: ignore[union-attr] # it is a tool_use
        "content": [{"type": "text", "text": "Rain."}, image],
        "is_error": True,
    }
    turns = [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = claude.messages.create(**asked | {"messages": [*asked["messages"], *turns]})

    assert answer.stop_reason == "end_turn"
    sent = json.loads(bedrock.journal.requests[-1].body)["messages"]
    assert sent[1]["content"][0].keys() == {"reasoningContent"}
    assert sent[2]["content"][0]["toolResult"]["status"] == "error"
    assert cost_nanos() == bedrock.ledger.total_nanos > 0
