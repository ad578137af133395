"""OpenAI's and Anthropic's official clients in front, the Gemini API behind: signed calls, thoughts unasked, the vendor's own bill."""

import json
from typing import Any

import anthropic
import openai
import pytest

from policies_app.models import Provider
from policies_app.routing.codes import WireFormat
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer, serve_in_thread
from tests.factories import make_provider
from tests.running_servers import VENDOR_SECRET, RunningGateway, attempt_rows, dispatch_rows, until
from tests.wire.behind import (
    ANSWER,
    BOTH,
    CITY,
    OWN_TOOLS,
    PIXEL,
    QUESTION,
    TOOLS,
    cost_nanos,
    open_to,
    sent,
)

LINK = "https://example.com/cat.png"


def shown(url: str) -> list[Any]:
    """A conversation that consists of a picture."""
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


@pytest.fixture
def key(vendor: SandboxServer, gateway: RunningGateway) -> str:
    """The key of a tenant whose policy `auto` has one model, behind Gemini's format."""
    provider = make_provider(base_url=f"{vendor.origin}/v1beta", wire_format=WireFormat.GEMINI)
    _, key = open_to(provider)
    gateway.catch_up()
    return key


def test_a_plain_answer_costs_what_the_vendor_bills(client: openai.OpenAI, vendor: SandboxServer) -> None:
    """Nobody asked for thoughts; they are reported as reasoning, and paid for."""
    reply = client.chat.completions.create(model="auto", messages=QUESTION)

    assert reply.choices[0].message.content == ANSWER
    assert reply.choices[0].finish_reason == "stop"
    (entry,) = vendor.ledger.entries
    usage = reply.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (entry.input_tokens, entry.output_tokens)
    assert usage.completion_tokens_details is not None
    assert usage.completion_tokens_details.reasoning_tokens == entry.reasoning_tokens > 0
    assert cost_nanos() == vendor.ledger.total_nanos > 0
    (request,) = vendor.journal.requests
    assert request.target == "/v1beta/models/sandbox-frontier:generateContent"
    assert request.header("x-goog-api-key") == VENDOR_SECRET


def test_a_stream_says_the_same_and_costs_what_the_vendor_bills(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    chunks = list(
        client.chat.completions.create(
            model="auto", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    (entry,) = vendor.ledger.entries
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (entry.input_tokens, entry.output_tokens)
    assert cost_nanos() == vendor.ledger.total_nanos > 0


@pytest.mark.parametrize("stream", [False, True])
def test_tools_are_called_in_parallel_and_answered(
    client: openai.OpenAI, vendor: SandboxServer, stream: bool
) -> None:
    """The vendor checks the signature of the first call, and that every result is that of a call."""
    if stream:
        with client.chat.completions.stream(model="auto", messages=BOTH, tools=TOOLS) as events:
            choice = events.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(model="auto", messages=BOTH, tools=TOOLS).choices[0]

    calls: Any = choice.message.tool_calls
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    assert all(isinstance(json.loads(call.function.arguments), dict) for call in calls)
    assert choice.finish_reason == "tool_calls"
    results = [{"role": "tool", "tool_call_id": call.id, "content": "Fine."} for call in calls]
    turn: Any = choice.message.model_dump(exclude_none=True)
    answered = client.chat.completions.create(model="auto", messages=[*BOTH, turn, *results], tools=TOOLS)

    assert answered.choices[0].message.content
    told = sent(vendor)["contents"]
    assert told[1]["parts"][0]["thoughtSignature"] != "skip_thought_signature_validator"
    ids = [part["functionCall"]["id"] for part in told[1]["parts"]]
    assert ids == [part["functionResponse"]["id"] for part in told[2]["parts"]] == [call.id for call in calls]
    assert cost_nanos() == vendor.ledger.total_nanos > 0


def test_reasoning_items_of_responses_carry_the_signatures(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    own_tools = [{"type": "function", "strict": False, **tool["function"]} for tool in TOOLS]
    asked: Any = {"model": "auto", "tools": own_tools, "include": ["reasoning.encrypted_content"]}
    response = client.responses.create(input=BOTH, **asked)
    calls = [item for item in response.output if item.type == "function_call"]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "Fine."} for call in calls]
    turn = [item.model_dump(exclude_none=True) for item in response.output]

    answered = client.responses.create(input=[*BOTH, *turn, *results], **asked)

    assert answered.output_text
    signature = sent(vendor)["contents"][1]["parts"][0]["thoughtSignature"]
    assert signature != "skip_thought_signature_validator"
    assert cost_nanos() == vendor.ledger.total_nanos > 0


def test_calls_whose_signature_was_lost_or_is_another_vendors_are_answered_all_the_same(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    """A client that keeps only what OpenAI's API has, or a conversation that another model began."""
    call = {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
    foreign = {"type": "thinking", "thinking": "Well.", "signature": "EqQBCg=="}
    turn: Any = {
        "role": "assistant",
        "content": None,
        "tool_calls": [call],
        "thinking_blocks": [foreign],
    }
    result: Any = {"role": "tool", "tool_call_id": "toolu_1", "content": "Rain."}

    answer = client.chat.completions.create(model="auto", messages=[*BOTH, turn, result], tools=TOOLS)

    assert answer.choices[0].message.content
    assert sent(vendor)["contents"][1]["parts"][0]["thoughtSignature"] == "skip_thought_signature_validator"


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_clients_think_and_call_tools_over_several_turns(
    claude: anthropic.Anthropic, vendor: SandboxServer, stream: bool
) -> None:
    asked: Any = {
        "model": "auto",
        "max_tokens": 2_000,
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "tools": OWN_TOOLS,
        "messages": BOTH,
    }
    if stream:
        with claude.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = claude.messages.create(**asked)

    calls: list[Any] = [block for block in message.content if block.type == "tool_use"]
    thoughts = [block.thinking for block in message.content if block.type == "thinking"]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert thoughts[0].startswith("hm hm")
    results = [
        {"type": "tool_result", "tool_use_id": call.id, "content": "Rain.", "is_error": True}
        for call in calls
    ]
    turns = [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]
    answer = claude.messages.create(**asked | {"messages": [*BOTH, *turns]})

    assert answer.stop_reason == "end_turn"
    told = sent(vendor)["contents"]
    assert told[1]["parts"][0]["thoughtSignature"] != "skip_thought_signature_validator"
    assert told[2]["parts"][0]["functionResponse"]["response"] == {"error": "Rain."}
    assert cost_nanos() == vendor.ledger.total_nanos > 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_was_said_after_thinking_comes_back_signed(
    client: openai.OpenAI, vendor: SandboxServer, stream: bool
) -> None:
    asked: Any = {"model": "auto", "messages": QUESTION, "reasoning_effort": "low"}
    if stream:
        with client.chat.completions.stream(**asked) as events:
            message: Any = events.get_final_completion().choices[0].message
    else:
        message = client.chat.completions.create(**asked).choices[0].message
    assert message.reasoning_content.startswith("hm hm")
    turn = message.model_dump(include={"role", "content", "thinking_blocks"})

    again: Any = [*QUESTION, turn, {"role": "user", "content": "And of Spain?"}]
    client.chat.completions.create(model="auto", messages=again)

    part = sent(vendor)["contents"][1]["parts"][0]
    assert part["text"] == ANSWER
    assert part["thoughtSignature"]
    assert cost_nanos() == vendor.ledger.total_nanos > 0


@pytest.mark.parametrize("thinking", [{"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}])
def test_thinking_can_be_forbidden(
    client: openai.OpenAI, vendor: SandboxServer, thinking: dict[str, Any]
) -> None:
    client.chat.completions.create(model="auto", messages=QUESTION, extra_body=thinking)

    assert vendor.ledger.entries[-1].reasoning_tokens == 0


def test_pictures_and_a_schema_reach_the_vendor(client: openai.OpenAI, vendor: SandboxServer) -> None:
    """An address is passed on for the vendor to fetch."""
    pictures: list[Any] = [
        {"type": "image_url", "image_url": {"url": url}}
        for url in (f"data:image/png;base64,{PIXEL}", LINK, "https://example.com/cat?size=2")
    ]
    answer = client.chat.completions.create(
        model="auto",
        messages=[{"role": "user", "content": [*pictures, {"type": "text", "text": "What is it?"}]}],
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": CITY, "strict": True},
        },
    )

    assert set(json.loads(answer.choices[0].message.content or "")) == {"city"}
    assert [part for part in sent(vendor)["contents"][0]["parts"] if "text" not in part] == [
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"fileData": {"mimeType": "image/png", "fileUri": LINK}},
        {"fileData": {"fileUri": "https://example.com/cat?size=2"}},
    ]


def test_anthropics_clients_show_pictures_and_keep_to_a_schema(claude: anthropic.Anthropic) -> None:
    content: Any = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
        {"type": "image", "source": {"type": "url", "url": LINK}},
        {"type": "text", "text": "What is it?"},
    ]
    answer = claude.messages.create(
        model="auto",
        max_tokens=200,
        messages=[{"role": "user", "content": content}],
        output_config={"format": {"type": "json_schema", "schema": CITY}},
    )

    text = "".join(block.text for block in answer.content if block.type == "text")
    assert set(json.loads(text)) == {"city"}


def test_what_is_cached_unasked_costs_what_the_vendor_bills(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    system: Any = {"role": "system", "content": "Know this of the capitals. " * 300}
    usages: list[Any] = [
        client.chat.completions.create(model="auto", messages=[system, *QUESTION]).usage for _ in range(2)
    ]

    assert [usage.prompt_tokens_details.cached_tokens > 1024 for usage in usages] == [False, True]
    assert usages[0].prompt_tokens == usages[1].prompt_tokens
    assert cost_nanos() == vendor.ledger.total_nanos


def test_several_choices_and_a_seed_are_the_vendors_own(client: openai.OpenAI, vendor: SandboxServer) -> None:
    answer = client.chat.completions.create(model="auto", messages=QUESTION, n=2, seed=7, temperature=1.5)

    assert len(answer.choices) == 2
    assert cost_nanos() == vendor.ledger.total_nanos > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"logprobs": True},
        {"logit_bias": {"1": 1}},
        {"tools": TOOLS, "parallel_tool_calls": False},
        {"messages": shown("http://example.com/cat.png")},
        {"messages": shown(f"data:image/gif;base64,{PIXEL}")},
    ],
)
def test_what_the_format_has_no_words_for_is_refused_and_not_lost(
    client: openai.OpenAI, vendor: SandboxServer, fields: dict[str, Any]
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(**{"model": "auto", "messages": QUESTION} | fields)

    assert refused.value.status_code == 503
    assert len(vendor.ledger.entries) == 0
    dropped = dispatch_rows()[0]["reason"]["dropped"]
    assert [drop["reason"] for drop in dropped] == ["lacks_capability"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_the_vendor_blocks_is_an_answer_that_was_filtered(
    client: openai.OpenAI, claude: anthropic.Anthropic, vendor: SandboxServer, stream: bool
) -> None:
    vendor.script(Fault(kind=FaultKind.CONTENT, refusal=""))

    if stream:
        chunks = client.chat.completions.create(model="auto", messages=QUESTION, stream=True)
        reason: Any = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1]
        with claude.messages.stream(model="auto", max_tokens=100, messages=QUESTION) as own_events:
            own = own_events.get_final_message()
    else:
        reason = client.chat.completions.create(model="auto", messages=QUESTION).choices[0].finish_reason
        own = claude.messages.create(model="auto", max_tokens=100, messages=QUESTION)

    assert reason == "content_filter"
    assert own.stop_reason == "refusal"
    assert cost_nanos() == vendor.ledger.total_nanos > 0


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault(kind=FaultKind.STATUS, status=400), 400),
        (Fault(kind=FaultKind.STATUS, status=403), 502),
        (Fault(kind=FaultKind.STATUS, status=404), 404),
        (Fault(kind=FaultKind.STATUS, status=503, message="The model is overloaded."), 503),
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


def test_when_to_come_back_is_told_to_the_caller(client: openai.OpenAI, vendor: SandboxServer) -> None:
    """The vendor says it in the body, and not in a header."""
    vendor.script(Fault(kind=FaultKind.STATUS, status=429, retry_after="7"))

    with pytest.raises(openai.RateLimitError) as raised:
        client.chat.completions.create(model="auto", messages=QUESTION)

    assert 7 <= int(raised.value.response.headers["retry-after"]) <= 9


def test_a_days_quota_that_is_used_up_is_no_rate_limit(client: openai.OpenAI, vendor: SandboxServer) -> None:
    """It is told by the quota's name alone: the seconds beside it would have the caller come back in vain."""
    vendor.script("insufficient_quota")

    with pytest.raises(openai.APIStatusError) as raised:
        client.chat.completions.create(model="auto", messages=QUESTION)

    assert (raised.value.status_code, raised.value.code) == (503, "no_target_available")
    assert [row["fault"] for row in attempt_rows()] == ["quota_exhausted"]


def test_a_key_that_the_vendor_does_not_know_is_not_the_callers_fault(gateway: RunningGateway) -> None:
    """To Google, it is a bad request like any other; only the reason in its body tells."""
    with serve_in_thread(SandboxServer(api_key="AIza-another")) as vendor:
        provider = make_provider(base_url=f"{vendor.origin}/v1beta", wire_format=WireFormat.GEMINI)
        _, key = open_to(provider)
        gateway.catch_up()

        with pytest.raises(openai.APIStatusError) as raised:
            gateway.client(key).chat.completions.create(model="auto", messages=QUESTION)

    assert raised.value.status_code == 502


def test_an_error_in_a_stream_is_told_and_paid_for(client: openai.OpenAI, vendor: SandboxServer) -> None:
    vendor.script(Fault(kind=FaultKind.STREAM_ERROR, status=503, after_chunks=5, content="word " * 20))

    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="auto", messages=QUESTION, stream=True))

    assert cost_nanos() >= vendor.ledger.total_nanos > 0


@pytest.mark.parametrize("kind", [FaultKind.MISSING_FINISH, FaultKind.CUT])
def test_a_stream_that_breaks_off_is_no_answer(
    client: openai.OpenAI, vendor: SandboxServer, kind: FaultKind
) -> None:
    """No event ends a stream of Google's: it is whole if every answer has said why it ended."""
    vendor.script(Fault(kind=kind, after_bytes=900, content="word " * 20))

    with pytest.raises(openai.APIError):
        list(client.chat.completions.create(model="auto", messages=QUESTION, stream=True))

    assert cost_nanos() >= vendor.ledger.total_nanos > 0


@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.SPLIT_FRAMES,
        FaultKind.GLUED_FRAMES,
        FaultKind.CRLF_FRAMES,
        FaultKind.COMMENTS,
        FaultKind.DUPLICATE_FINISH,
    ],
)
def test_how_a_stream_comes_makes_no_difference(
    client: openai.OpenAI, vendor: SandboxServer, kind: FaultKind
) -> None:
    vendor.script(Fault(kind=kind, split_bytes=7))

    chunks = list(client.chat.completions.create(model="auto", messages=QUESTION, stream=True))

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == ANSWER
    assert cost_nanos() == vendor.ledger.total_nanos > 0


@pytest.fixture
def stops_when_cut(key: str, gateway: RunningGateway) -> None:
    """The vendor generates, and bills, no more once its connection is closed."""
    Provider.objects.update(bills_after_cut=False)
    gateway.catch_up()


def settled_row() -> dict[str, Any]:
    until(lambda: [row["state"] for row in attempt_rows()] == ["settled"])
    (row,) = attempt_rows()
    return row


@pytest.mark.usefixtures("stops_when_cut")
def test_who_hangs_up_pays_for_the_thoughts_too(client: openai.OpenAI, vendor: SandboxServer) -> None:
    """They were never seen, and are billed: what was received of the text alone would cost less."""
    vendor.script(Fault(kind=FaultKind.CONTENT, content="a " * 200, chunk_delay_ms=50))

    with client.chat.completions.create(model="auto", messages=QUESTION, stream=True) as stream:
        assert next(chunk for chunk in stream if chunk.choices and chunk.choices[0].delta.content)
    row = settled_row()
    until(lambda: vendor.ledger.entries[0].client_left)

    (entry,) = vendor.ledger.entries
    assert entry.reasoning_tokens < entry.output_tokens <= row["output_tokens"]
    assert vendor.ledger.total_nanos <= row["cost_nanos"] < row["reserved_nanos"]


@pytest.mark.usefixtures("stops_when_cut")
def test_who_hangs_up_before_the_first_word_pays_the_most_that_it_may_have_cost(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    """By then, nobody knows how much was thought."""
    vendor.script(Fault(delay_ms=60_000))

    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(model="auto", messages=QUESTION, stream=True)

    row = settled_row()
    assert row["cost_nanos"] == row["reserved_nanos"]
