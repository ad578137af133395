"""Anthropic behind, with the vendor's own bill; in front of it the official clients of both formats."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from policies_app.routing.codes import WireFormat
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import make_provider
from tests.running_servers import VENDOR_SECRET, RunningGateway, dispatch_rows
from tests.wire.behind import BOTH, OWN_TOOLS, PIXEL, QUESTION, TOOLS, cost_nanos, open_to, sent


@pytest.fixture
def key(vendor: SandboxServer, gateway: RunningGateway) -> str:
    """The key of a tenant whose policy `auto` has one model, behind Anthropic's format."""
    provider = make_provider(base_url=vendor.base_url, wire_format=WireFormat.ANTHROPIC_MESSAGES)
    _, key = open_to(provider)
    gateway.catch_up()
    return key


@pytest.fixture
def sdk(vendor: SandboxServer) -> Iterator[anthropic.Anthropic]:
    """Straight to the vendor."""
    with anthropic.Anthropic(base_url=vendor.origin, api_key=VENDOR_SECRET, max_retries=0) as client:
        yield client


@pytest.mark.parametrize("thinks", [False, True])
def test_the_official_client_cannot_tell_the_vendor_from_the_gateway(
    sdk: anthropic.Anthropic, claude: anthropic.Anthropic, vendor: SandboxServer, thinks: bool
) -> None:
    thinking: Any = {"thinking": {"type": "enabled", "budget_tokens": 1_024}} if thinks else {}
    asked: Any = {"max_tokens": 2_000, "messages": BOTH, "tools": OWN_TOOLS, **thinking}
    direct = sdk.messages.create(model="sandbox-frontier", **asked)
    vendor.ledger.clear()

    through = claude.messages.create(model="auto", **asked)
    with claude.messages.stream(model="auto", **asked) as stream:
        streamed = stream.get_final_message()

    expected = [block.model_dump(exclude_none=True) for block in direct.content]
    assert [block.model_dump(exclude_none=True) for block in through.content] == expected
    assert [block.model_dump(exclude_none=True) for block in streamed.content] == expected
    assert direct.stop_reason == through.stop_reason == streamed.stop_reason == "tool_use"
    assert through.usage.output_tokens == streamed.usage.output_tokens == direct.usage.output_tokens
    assert cost_nanos() == vendor.ledger.total_nanos > 0


def test_thoughts_come_back_to_the_vendor_that_signed_them(
    client: openai.OpenAI, claude: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    """The vendor checks its signatures: a thought that was changed on the way would be refused."""
    first = client.chat.completions.create(
        model="auto", messages=BOTH, tools=TOOLS, max_tokens=2_000, reasoning_effort="low"
    )
    turn = first.choices[0].message
    assert turn.model_extra is not None
    assert turn.model_extra["thinking_blocks"]
    results: list[Any] = [
        {"role": "tool", "tool_call_id": call.id, "content": "Fine."} for call in turn.tool_calls or ()
    ]
    client.chat.completions.create(
        model="auto",
        messages=[*BOTH, turn.model_dump(exclude_none=True), *results],  # type: ignore[list-item]
        tools=TOOLS,
        max_tokens=2_000,
        reasoning_effort="low",
    )

    blocks = sent(vendor)["messages"][1]["content"]
    assert [block["type"] for block in blocks] == ["thinking", "tool_use", "tool_use"]

    own = claude.messages.create(
        model="auto", max_tokens=2_000, messages=QUESTION, thinking={"type": "adaptive"}
    )
    again: list[Any] = [*QUESTION, {"role": "assistant", "content": own.content}, *QUESTION]
    claude.messages.create(model="auto", max_tokens=2_000, messages=again)
    assert sent(vendor)["messages"][1]["content"][0]["type"] == "thinking"


@pytest.mark.parametrize("streams", [False, True])
def test_openais_client_gets_its_own_words_and_the_vendors_price(
    client: openai.OpenAI, vendor: SandboxServer, streams: bool
) -> None:
    if streams:
        with client.chat.completions.stream(model="auto", messages=BOTH, tools=TOOLS) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(model="auto", messages=BOTH, tools=TOOLS).choices[0]

    calls: Any = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)
    assert choice.finish_reason == "tool_calls"
    assert cost_nanos() == vendor.ledger.total_nanos > 0


def test_what_is_cached_costs_what_the_vendor_bills(
    claude: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    system: list[Any] = [
        {"type": "text", "text": "Know this. " * 600, "cache_control": {"type": "ephemeral"}}
    ]
    answers = [
        claude.messages.create(model="auto", max_tokens=50, system=system, messages=QUESTION)
        for _ in range(2)
    ]

    assert [answer.usage.cache_read_input_tokens > 0 for answer in answers] == [False, True]
    assert cost_nanos() == vendor.ledger.total_nanos


def test_pictures_and_a_schema_reach_the_vendor(client: openai.OpenAI, vendor: SandboxServer) -> None:
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    answer = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": [picture, {"type": "text", "text": "What is it?"}]}],  # type: ignore[list-item, misc]
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
    )

    assert set(json.loads(answer.choices[0].message.content or "")) == {"answer"}
    assert sent(vendor)["messages"][0]["content"][0]["source"]["data"] == PIXEL


@pytest.mark.parametrize("fields", [{"seed": 1}, {"n": 2}, {"temperature": 1.5}, {"logit_bias": {"1": 1}}])
def test_what_the_format_has_no_words_for_is_refused_and_not_lost(
    client: openai.OpenAI, vendor: SandboxServer, fields: dict[str, Any]
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(model="auto", messages=QUESTION, **fields)

    assert refused.value.status_code == 503
    assert len(vendor.ledger.entries) == 0
    dropped = dispatch_rows()[0]["reason"]["dropped"]
    assert [drop["reason"] for drop in dropped] == ["lacks_capability"]


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind=FaultKind.STATUS, status=529, message="Overloaded"), 503),
        (Fault(kind=FaultKind.STATUS, status=429, retry_after="3"), 429),
        (Fault(kind=FaultKind.STATUS, status=401), 502),
        (Fault(kind=FaultKind.STATUS, status=413), 413),
    ],
)
def test_errors_of_the_vendor_have_their_meaning(
    client: openai.OpenAI, vendor: SandboxServer, fault: Fault, status: int
) -> None:
    vendor.script(fault)

    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="auto", messages=QUESTION)

    assert raised.value.status_code == status
    assert cost_nanos() == 0


def test_an_error_in_a_stream_is_told_and_paid_for(client: openai.OpenAI, vendor: SandboxServer) -> None:
    vendor.script(Fault(kind=FaultKind.STREAM_ERROR, after_chunks=5, content="word " * 20))

    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="auto", messages=QUESTION, stream=True))

    assert cost_nanos() >= vendor.ledger.total_nanos > 0
