"""Anthropic's official client against a real web process, in front of a vendor that speaks OpenAI's format."""

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import pytest
from pydantic import TypeAdapter

from policies_app.routing.codes import BudgetScope
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import make_budget, make_key
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop, until

QUESTION: Any = {
    "model": "auto",
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}
TOOL = {
    "name": "find_order",
    "description": "Finds an order",
    "input_schema": {
        "type": "object",
        "properties": {"number": {"type": "integer"}},
        "required": ["number"],
    },
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    opened = open_shop(vendor)
    gateway.catch_up()
    return opened


@pytest.fixture
def client(gateway: RunningGateway, shop: Shop) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=shop.key, max_retries=0, timeout=30) as client:
        yield client


def test_a_plain_answer_costs_what_the_vendor_bills(
    client: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    answer = client.messages.with_raw_response.create(**QUESTION)
    message = answer.parse()

    assert message.content[0].text == "The capital of France is Paris."
    assert (message.role, message.stop_reason, message.model) == ("assistant", "end_turn", "small")
    assert message.usage.input_tokens > 0 < message.usage.output_tokens
    (dispatch,) = dispatch_rows()
    assert dispatch["cost_nanos"] == vendor.ledger.total_nanos > 0
    assert Decimal(answer.headers["x-dispatch-cost-usd"]) == Decimal(dispatch["cost_nanos"]) / 10**9
    assert answer.headers["request-id"] == str(dispatch["id"])


def test_a_stream_says_what_a_plain_answer_says_in_the_clients_own_events(
    client: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    plain = client.messages.create(**QUESTION)
    vendor.ledger.clear()

    with client.messages.stream(**QUESTION) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()

    assert [block.text for block in message.content] == [block.text for block in plain.content]
    assert (message.stop_reason, message.model) == (plain.stop_reason, "small")
    assert message.usage.output_tokens == plain.usage.output_tokens
    assert (kinds[0], kinds[-2], kinds[-1]) == ("message_start", "message_delta", "message_stop")
    assert dispatch_rows()[-1]["cost_nanos"] == vendor.ledger.total_nanos


@pytest.mark.parametrize("streamed", [False, True])
def test_tools_are_called_and_their_results_come_back(
    client: anthropic.Anthropic, vendor: SandboxServer, streamed: bool
) -> None:
    asked = QUESTION | {
        "messages": [{"role": "user", "content": "Where is order 7?"}],
        "tools": [TOOL],
        "tool_choice": {"type": "any"},
    }
    if streamed:
        with client.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = client.messages.create(**asked)

    (call,) = [block for block in message.content if block.type == "tool_use"]
    assert (call.name, message.stop_reason) == ("find_order", "tool_use")
    assert isinstance(call.input["number"], int)

    result = {"type": "tool_result", "tool_use_id": call.id, "content": "In Paris.", "is_error": False}
    turns = [
        *asked["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result, {"type": "text", "text": "So?"}]},
    ]
    client.messages.create(**asked | {"messages": turns, "tool_choice": {"type": "none"}})

    sent = json.loads(vendor.journal.requests[-1].body)["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user"]
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"] == call.id
    assert sent[2]["content"] == "In Paris."


def test_pictures_a_schema_and_the_system_reach_the_vendor_in_its_own_words(
    client: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    schema = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    client.messages.create(
        model="auto",
        max_tokens=64,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": [image, {"type": "text", "text": "What is it?"}]}],  # type: ignore[list-item, typeddict-item]
        output_config={"format": {"type": "json_schema", "schema": schema}},
        stop_sequences=["END"],
    )

    sent = json.loads(vendor.journal.requests[-1].body)
    assert sent["messages"][0] == {"role": "system", "content": [{"type": "text", "text": "Be brief."}]}
    assert sent["messages"][1]["content"][0]["image_url"]["url"] == f"data:image/png;base64,{PIXEL}"
    assert sent["response_format"]["json_schema"]["schema"] == schema
    assert (sent["stop"], sent["max_tokens"]) == (["END"], 64)


def test_what_the_vendor_was_not_told_is_named(client: anthropic.Anthropic) -> None:
    answer = client.messages.with_raw_response.create(
        **QUESTION, extra_body={"top_k": 5, "context_management": {"edits": []}}
    )

    assert answer.headers["x-dispatch-dropped"] == "top_k, context_management"


def test_an_answer_that_the_caller_began_goes_to_no_model_that_cannot_go_on_with_it(
    client: anthropic.Anthropic,
) -> None:
    turns = [*QUESTION["messages"], {"role": "assistant", "content": "The capital is"}]

    with pytest.raises(anthropic.APIStatusError) as refused:
        client.messages.create(**QUESTION | {"messages": turns})

    assert refused.value.status_code == 503
    assert attempt_rows() == []


@pytest.mark.parametrize(
    ("change", "status", "kind", "told"),
    [
        ({"model": "nothing"}, 404, "not_found_error", "does not exist"),
        ({"max_tokens": 0}, 400, "invalid_request_error", "max_tokens"),
        ({"extra_body": {"temperature": 1.5}}, 400, "invalid_request_error", "temperature"),
        ({"extra_body": {"mcp_servers": []}}, 400, "invalid_request_error", "mcp_servers"),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]},
            400,
            "invalid_request_error",
            "messages[0].content[0].type",
        ),
    ],
)
def test_errors_come_in_the_clients_own_words(
    client: anthropic.Anthropic, change: dict[str, Any], status: int, kind: str, told: str
) -> None:
    with pytest.raises(anthropic.APIStatusError) as raised:
        client.messages.create(**QUESTION | change)

    assert raised.value.status_code == status
    body: Any = raised.value.body
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert told in body["error"]["message"]
    assert body["request_id"] == raised.value.response.headers["request-id"]


def test_a_key_that_is_none_is_an_authentication_error(gateway: RunningGateway, shop: Shop) -> None:
    with (
        anthropic.Anthropic(base_url=gateway.url, api_key="sbx_wrong", max_retries=0) as stranger,
        pytest.raises(anthropic.AuthenticationError),
    ):
        stranger.messages.create(**QUESTION)


def test_a_budget_that_is_used_up_is_not_asked_again(
    client: anthropic.Anthropic, shop: Shop, gateway: RunningGateway
) -> None:
    make_budget(shop.tenant, limit_nanos=1, scope=BudgetScope.TENANT)
    gateway.catch_up()

    with pytest.raises(anthropic.RateLimitError) as refused:
        client.messages.create(**QUESTION)

    assert refused.value.body["error"]["type"] == "billing_error"  # type: ignore[call-overload, index]
    assert refused.value.response.headers["x-should-retry"] == "false"


def test_a_stream_that_breaks_off_ends_with_an_error_event(
    client: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    vendor.script(Fault(kind=FaultKind.STREAM_ERROR, after_chunks=3, content="word " * 20))

    with pytest.raises(anthropic.APIStatusError), client.messages.stream(**QUESTION) as stream:
        stream.until_done()

    assert dispatch_rows()[0]["status"] == "failed"


def test_a_stream_that_its_client_leaves_is_settled(
    client: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    vendor.script(Fault(kind=FaultKind.CONTENT, content="word " * 40, chunk_delay_ms=50))

    with client.messages.stream(**QUESTION) as stream:
        next(iter(stream.text_stream))

    until(lambda: bool(attempt_rows()) and attempt_rows()[0]["state"] == "settled")
    (attempt,) = attempt_rows()
    assert attempt["cost_nanos"] >= vendor.ledger.total_nanos


def test_tokens_are_counted_without_a_call_or_a_cost(
    client: anthropic.Anthropic, vendor: SandboxServer
) -> None:
    counted = client.messages.count_tokens(model="auto", messages=QUESTION["messages"])

    assert 5 < counted.input_tokens < 50
    assert dispatch_rows() == []
    assert len(vendor.ledger.entries) == 0


def test_models_are_listed_in_the_clients_own_words(
    gateway: RunningGateway, shop: Shop, client: anthropic.Anthropic
) -> None:
    powerful = make_key(shop.tenant, may_call_models=True).text
    gateway.catch_up()

    assert [model.id for model in client.models.list()] == ["auto"]
    listed = {model.id: model for model in client.with_options(api_key=powerful).models.list(limit=1)}

    assert listed.keys() == {"auto", "small", "mid", "frontier"}
    assert listed["small"].max_input_tokens == shop.fleet.small.context_window_tokens
    told = gateway.get("/v1/models/auto", shop.key, headers={"anthropic-version": "2023-06-01"})
    model = TypeAdapter(anthropic.types.ModelInfo).validate_json(told.content, strict=True)
    assert (model.display_name, model.lifecycle) == ("auto", "active")
    assert client.models.retrieve("auto") == model


def test_a_model_that_is_not_there_is_told_of_in_the_clients_own_words(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as raised:
        client.models.retrieve("frontier")

    assert raised.value.type == "not_found_error"
