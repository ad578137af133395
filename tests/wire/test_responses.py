"""OpenAI's official client asks for Responses: plain, streamed, tools, structured output, images, reasoning and errors."""

import json
from typing import Any

import openai
import pytest
from openai.types.responses import Response

from policies_app.routing.codes import WireFormat
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import make_key, make_policy, make_provider, make_tenant
from tests.running_servers import (
    RunningGateway,
    attempt_rows,
    dispatch_rows,
    make_sandbox_fleet,
    publish,
    until,
)

ANSWER = "The capital of France is Paris."
QUESTION = "What is the capital of France?"
BOTH = "Use get_weather and get_time for Paris."
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [
    {"type": "function", "name": name, "parameters": CITY, "strict": False}
    for name in ("get_weather", "get_time")
]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(params=[WireFormat.OPENAI_CHAT, WireFormat.ANTHROPIC_MESSAGES])
def client(request: pytest.FixtureRequest, vendor: SandboxServer, gateway: RunningGateway) -> openai.OpenAI:
    """A client of a tenant whose policy `auto` has one model, behind either format."""
    provider = make_provider(base_url=vendor.base_url, wire_format=request.param)
    fleet = make_sandbox_fleet(vendor.base_url, provider=provider)
    publish(make_policy("auto", models=[fleet.frontier], baseline_model=fleet.frontier))
    key = make_key(make_tenant()).text
    gateway.catch_up()
    return gateway.client(key)


def assert_paid(vendor: SandboxServer) -> None:
    assert sum(row["cost_nanos"] for row in attempt_rows()) == vendor.ledger.total_nanos > 0


def strictly(response: Response) -> Response:
    """The same, read by the client's own types without leniency."""
    return Response.model_validate_json(response.model_dump_json(exclude={"dispatch"}), strict=True)


def test_a_plain_response_costs_what_the_vendor_bills(client: openai.OpenAI, vendor: SandboxServer) -> None:
    response = client.responses.create(
        model="auto", input=QUESTION, instructions="Be brief.", temperature=0.5, store=False
    )

    assert response.output_text == ANSWER
    assert (response.status, response.model, response.temperature) == ("completed", "frontier", 0.5)
    assert response.instructions == "Be brief."
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert strictly(response).id.startswith("resp_")
    assert_paid(vendor)


def test_a_stream_says_what_a_plain_response_says(client: openai.OpenAI, vendor: SandboxServer) -> None:
    with client.responses.stream(model="auto", input=QUESTION) as stream:
        events = list(stream)
        response = stream.get_final_response()

    assert response.output_text == ANSWER
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == ANSWER
    numbers = [event.sequence_number for event in events if hasattr(event, "sequence_number")]
    assert numbers == sorted(set(numbers))
    kinds = [event.type for event in events]
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds[-1] == "response.completed"
    assert_paid(vendor)


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_are_called_and_answered(client: openai.OpenAI, streamed: bool) -> None:
    if streamed:
        with client.responses.stream(model="auto", input=BOTH, tools=TOOLS) as stream:
            response: Any = stream.get_final_response()
    else:
        response = client.responses.create(model="auto", input=BOTH, tools=TOOLS)

    calls = [item for item in response.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["get_weather", "get_time"]
    assert all(isinstance(json.loads(call.arguments), dict) for call in calls)
    turns: list[Any] = [
        {"role": "user", "content": BOTH},
        *(
            {"type": "function_call", "call_id": c.call_id, "name": c.name, "arguments": c.arguments}
            for c in calls
        ),
        *({"type": "function_call_output", "call_id": call.call_id, "output": "Fine."} for call in calls),
    ]
    assert client.responses.create(model="auto", input=turns, tools=TOOLS).output_text


def test_structured_output_and_images(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    parts: list[Any] = [
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
        {"type": "input_text", "text": "What is it?"},
    ]
    response = client.responses.create(
        model="auto",
        input=[{"role": "user", "content": parts}],
        text={"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": True}},
    )

    assert json.loads(response.output_text).keys() == {"answer"}


def test_what_was_thought_comes_back_to_a_vendor_that_signs_it(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    asked: Any = {
        "model": "auto",
        "tools": TOOLS,
        "max_output_tokens": 2_000,
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
    }
    first = client.responses.create(input=BOTH, **asked)
    items: list[Any] = [item.model_dump(exclude_none=True) for item in first.output]
    results = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "Fine."}
        for item in items
        if item["type"] == "function_call"
    ]
    client.responses.create(input=[{"role": "user", "content": BOTH}, *items, *results], **asked)

    sent = json.loads(vendor.journal.requests[-1].body)["messages"][1]
    kinds = [block["type"] for block in sent.get("content") or () if isinstance(block, dict)]
    if items[0]["type"] == "reasoning" and items[0].get("encrypted_content"):
        assert kinds[0] == "thinking"
    assert len(items) >= 2


def test_an_answer_that_was_cut_short_is_incomplete(client: openai.OpenAI) -> None:
    response = client.responses.create(model="auto", input="Tell me more in 200 words", max_output_tokens=20)

    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"store": True}, "store"),
        ({"background": True}, "background"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"truncation": "auto"}, "truncation"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"input": []}, "input"),
    ],
)
def test_what_would_have_to_be_kept_or_run_elsewhere_is_refused_by_name(
    client: openai.OpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.responses.create(**{"model": "auto", "input": QUESTION} | fields)

    assert refused.value.param == param
    assert dispatch_rows() == []


def test_what_no_vendor_was_told_is_named(client: openai.OpenAI) -> None:
    answer = client.responses.with_raw_response.create(
        model="auto", input=QUESTION, safety_identifier="ann", service_tier="auto"
    )

    assert answer.headers["x-dispatch-dropped"] == "safety_identifier"


def test_a_stream_that_breaks_off_ends_with_an_error(client: openai.OpenAI, vendor: SandboxServer) -> None:
    vendor.script(Fault(kind=FaultKind.STREAM_ERROR, after_chunks=5, content="word " * 20))

    *_, last = client.responses.create(model="auto", input=QUESTION, stream=True)

    assert (last.type, last.code) == ("error", "upstream_invalid")
    until(lambda: dispatch_rows()[0]["status"] == "failed")
