"""The official client against a real web process, PostgreSQL and the sandbox vendor."""

import json
from decimal import Decimal

import httpx
import openai
import pytest

from policies_app.routing.codes import BudgetScope
from sandbox.server import SandboxServer
from tests.factories import USD, make_budget, make_key, make_policy, make_tenant
from tests.running_servers import (
    VENDOR_SECRET,
    RunningGateway,
    attempt_rows,
    dispatch_rows,
    open_shop,
    publish,
)

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "find_order",
        "parameters": {
            "type": "object",
            "properties": {"number": {"type": "integer"}},
            "required": ["number"],
        },
    },
}


def test_the_official_client_gets_a_plain_answer(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()

    reply = gateway.client(shop.key).chat.completions.create(model="auto", messages=QUESTION)

    assert reply.model == "small"
    assert reply.choices[0].message.content
    assert reply.usage.total_tokens > 0
    (dispatch,) = dispatch_rows()
    assert dispatch["status"] == "succeeded"
    assert dispatch["cost_nanos"] == vendor.ledger.total_nanos > 0


def test_the_official_client_gets_a_streamed_answer(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()
    client = gateway.client(shop.key)
    plain = client.chat.completions.create(model="auto", messages=QUESTION)
    vendor.ledger.clear()

    chunks = list(client.chat.completions.create(model="auto", messages=QUESTION, stream=True))

    assert {chunk.model for chunk in chunks} == {"small"}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == plain.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)
    assert attempt_rows()[-1]["cost_nanos"] == vendor.ledger.total_nanos > 0


def test_a_streams_usage_and_cost_come_last_for_who_asks(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()

    chunks = list(
        gateway.client(shop.key).chat.completions.create(
            model="auto", messages=QUESTION, stream=True, stream_options={"include_usage": True}
        )
    )

    (entry,) = vendor.ledger.entries
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == entry.output_tokens
    assert chunks[-1].model_extra["dispatch"]["cost_nanos"] == entry.cost_nanos
    assert all(chunk.usage is None for chunk in chunks[:-1])


@pytest.mark.parametrize("stream", [False, True])
def test_tools_and_several_choices_come_through(
    vendor: SandboxServer, gateway: RunningGateway, stream: bool
) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()
    client = gateway.client(shop.key)
    asked = {
        "model": "auto",
        "messages": [{"role": "user", "content": "find_order 7, please"}],
        "tools": [TOOL],
        "n": 2,
    }

    if stream:
        with client.chat.completions.stream(**asked) as events:
            choices = events.get_final_completion().choices
    else:
        choices = client.chat.completions.create(**asked).choices

    assert [choice.finish_reason for choice in choices] == ["tool_calls"] * 2
    assert all(choice.message.tool_calls[0].function.name == "find_order" for choice in choices)
    assert dispatch_rows()[0]["cost_nanos"] == vendor.ledger.total_nanos


def test_headers_say_what_was_chosen_and_what_it_cost(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()

    answer = gateway.post(
        "/v1/chat/completions",
        shop.key,
        json={"model": "auto", "messages": QUESTION, "user": "u-1", "metadata": {"team": "red"}},
        headers={"x-dispatch-task": "faq", "x-dispatch-tags": "region=eu"},
    )

    (dispatch,) = dispatch_rows()
    headers = answer.headers
    assert headers["x-dispatch-id"] == headers["x-request-id"] == str(dispatch["id"])
    assert headers["x-dispatch-policy"] == "auto"
    assert headers["x-dispatch-policy-version"] == "1"
    assert headers["x-dispatch-rule"] == "default"
    assert headers["x-dispatch-strategy"] == "failover"
    assert headers["x-dispatch-model"] == "small"
    assert headers["x-dispatch-provider"] == shop.fleet.provider.name
    assert headers["x-dispatch-attempts"] == "1"
    assert "default" in headers["x-dispatch-reason"]
    assert headers["x-dispatch-cost-usd"] == f"0.{vendor.ledger.total_nanos:09d}"
    assert float(headers["x-dispatch-overhead-ms"]) > 0
    assert (dispatch["task"], dispatch["tags"], dispatch["end_user"]) == (
        "faq",
        {"team": "red", "region": "eu"},
        "u-1",
    )
    assert dispatch["reason"]["words"]
    assert dispatch["baseline_cost_nanos"] > dispatch["cost_nanos"]
    assert "set-cookie" not in headers
    assert "openai-version" not in headers


def test_a_trace_is_added_for_who_asks(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()

    answer = gateway.post(
        "/v1/chat/completions",
        shop.key,
        json={"model": "auto", "messages": QUESTION},
        headers={"x-dispatch-debug": "true"},
    ).json()

    assert answer["dispatch"]["attempts"][0]["model"] == "small"
    assert [rule["rule"] for rule in answer["dispatch"]["trace"]] == ["default"]


def test_nothing_of_the_caller_reaches_the_vendor_but_its_prompt(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()

    gateway.post(
        "/v1/chat/completions",
        shop.key,
        json={
            "model": "auto",
            "messages": QUESTION,
            "user": "canary-user",
            "metadata": {"canary": "canary"},
            "temperature": 0,
        },
        headers={"cookie": "canary=1", "x-canary": "canary", "x-forwarded-for": "1.2.3.4", "te": "trailers"},
    )

    (request,) = vendor.journal.requests
    assert request.header("authorization") == f"Bearer {VENDOR_SECRET}"
    assert set(json.loads(request.body)) == {"model", "messages", "temperature", "max_tokens"}
    assert "canary" not in str(request.headers) + request.body.decode()
    assert shop.key not in str(request.headers) + request.body.decode()


def test_a_policy_of_another_tenant_does_not_exist(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    stranger = make_tenant()
    publish(make_policy("theirs", models=[shop.fleet.small], tenant=stranger))
    gateway.catch_up()

    answer = gateway.post("/v1/chat/completions", shop.key, json={"model": "theirs", "messages": QUESTION})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
    assert dispatch_rows() == []


def test_a_key_is_held_to_its_policies(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    other = make_policy("other", models=[shop.fleet.small])
    publish(other)
    key = make_key(shop.tenant, policies=[other]).text
    gateway.catch_up()

    refused = gateway.post("/v1/chat/completions", key, json={"model": "auto", "messages": QUESTION})
    allowed = gateway.post("/v1/chat/completions", key, json={"model": "other", "messages": QUESTION})

    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
    assert allowed.status_code == 200


def test_a_model_can_be_named_by_keys_that_may(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor, may_call_models=True)
    other = make_key(shop.tenant).text
    gateway.catch_up()
    body = {"model": "frontier", "messages": QUESTION}

    allowed = gateway.post("/v1/chat/completions", shop.key, json=body)
    refused = gateway.post("/v1/chat/completions", other, json=body)

    assert (allowed.status_code, allowed.json()["model"]) == (200, "frontier")
    assert allowed.headers["x-dispatch-policy"] == "direct"
    assert refused.status_code == 403


def test_models_lists_what_the_key_may_name(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    publish(make_policy("theirs", models=[shop.fleet.small], tenant=make_tenant()))
    powerful = make_key(shop.tenant, may_call_models=True).text
    gateway.catch_up()

    plain, powered = gateway.client(shop.key), gateway.client(powerful)

    assert {model.id for model in plain.models.list()} == {"auto"}
    assert {model.id for model in powered.models.list()} == {"auto", "small", "mid", "frontier"}
    assert plain.models.retrieve("auto").id == "auto"
    for hidden in ("small", "theirs", "nothing"):
        with pytest.raises(openai.NotFoundError):
            plain.models.retrieve(hidden)


def test_the_native_endpoint_tells_everything_at_once(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    vendor.script("503", model="sandbox-small")
    gateway.catch_up()

    answer = gateway.post(
        "/v1/dispatch",
        shop.key,
        json={
            "model": "auto",
            "messages": QUESTION,
            "task": "faq",
            "tags": {"team": "red"},
            "user": "u-1",
            "limits": {"timeout_ms": 5_000, "output_tokens": 50},
        },
    ).json()

    (dispatch,) = dispatch_rows()
    told = answer["dispatch"]
    assert answer["reply"]["content"]
    assert answer["usage"]["output_tokens"] > 0
    assert [(attempt["model"], attempt["role"], attempt["fault"]) for attempt in told["attempts"]] == [
        ("small", "primary", "server_error"),
        ("mid", "fallback", None),
    ]
    assert told["cost_nanos"] == dispatch["cost_nanos"] == vendor.ledger.total_nanos
    assert (dispatch["task"], dispatch["tags"], dispatch["end_user"]) == ("faq", {"team": "red"}, "u-1")
    assert json.loads(vendor.journal.requests[0].body)["max_tokens"] == 50


def test_explain_decides_without_calling_reserving_or_logging(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    make_budget(shop.tenant)
    gateway.catch_up()

    told = gateway.post("/v1/explain", shop.key, json={"model": "auto", "messages": QUESTION}).json()

    assert [candidate["model"] for candidate in told["plan"]["candidates"]] == ["small", "mid", "frontier"]
    assert told["rule"] == "default"
    assert told["reason"]
    assert float(told["plan"]["candidates"][0]["worst_case_usd"]) > 0
    assert dispatch_rows() == attempt_rows() == []
    assert not vendor.journal.requests


def test_a_draft_is_explained_to_keys_with_the_right_only(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor, may_explain_drafts=True)
    other = make_key(shop.tenant).text
    make_policy("draft", models=[shop.fleet.mid])
    gateway.catch_up()
    body = {"model": "draft", "messages": QUESTION, "draft": True}

    allowed = gateway.post("/v1/explain", shop.key, json=body)
    refused = gateway.post("/v1/explain", other, json=body)
    unpublished = gateway.post(
        "/v1/chat/completions", shop.key, json={"model": "draft", "messages": QUESTION}
    )

    assert allowed.json()["plan"]["candidates"][0]["model"] == "mid"
    assert refused.status_code == 403
    assert unpublished.status_code == 404


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_request_is_shrunk_to_what_is_left_of_the_budget_and_the_answer_says_so(
    vendor: SandboxServer, gateway: RunningGateway, *, is_streamed: bool
) -> None:
    shop = open_shop(vendor)
    gateway.catch_up()
    body = {"model": "auto", "messages": QUESTION, "stream": is_streamed}
    told = gateway.post("/v1/explain", shop.key, json=body | {"max_tokens": 40}).json()
    forty_tokens_nanos = int(Decimal(told["plan"]["candidates"][0]["worst_case_usd"]) * USD)
    budget = make_budget(shop.tenant, limit_nanos=forty_tokens_nanos, shrink_to_tokens=30)
    gateway.catch_up()

    answers = [
        gateway.post("/v1/chat/completions", shop.key, json=body | {"max_tokens": 99}) for _ in range(2)
    ]

    assert [answer.status_code for answer in answers] == [200, 429]  # thirty tokens are not left
    assert answers[0].headers["x-dispatch-output-limit"] == "40"
    assert json.loads(vendor.journal.requests[0].body)["max_tokens"] == 40
    assert budget.balances.get().spent_nanos == vendor.ledger.total_nanos <= budget.limit_nanos


def test_the_budget_of_a_tag_bounds_what_bears_it_and_nothing_else(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    make_budget(shop.tenant, limit_nanos=1, scope=BudgetScope.TAG, tag="project=apollo")
    gateway.catch_up()
    body = {"model": "auto", "messages": QUESTION}

    answers = [
        gateway.post("/v1/chat/completions", shop.key, json=body | {"metadata": tags})
        for tags in ({"project": "apollo", "team": "red"}, {"project": "gemini"}, {})
    ]

    assert [answer.status_code for answer in answers] == [429, 200, 200]


def test_each_end_user_has_the_tenants_default_from_the_first_request_on(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    budget = make_budget(shop.tenant, scope=BudgetScope.END_USER)
    gateway.catch_up()

    for user in ("ann", "bob", "ann"):
        body = {"model": "auto", "messages": QUESTION, "user": user}
        assert gateway.post("/v1/chat/completions", shop.key, json=body).status_code == 200

    spent = {balance.subject: balance.spent_nanos for balance in budget.balances.all()}
    assert set(spent) == {"ann", "bob"}
    assert spent["ann"] == 2 * spent["bob"] > 0
    assert {balance.granted_nanos for balance in budget.balances.all()} == {budget.limit_nanos}


def test_a_budget_that_is_used_up_refuses_for_good(vendor: SandboxServer, gateway: RunningGateway) -> None:
    shop = open_shop(vendor)
    make_budget(shop.tenant, limit_nanos=1)
    gateway.catch_up()

    answer = gateway.post("/v1/chat/completions", shop.key, json={"model": "auto", "messages": QUESTION})

    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert [row["status"] for row in dispatch_rows()] == ["refused"]
    assert attempt_rows() == []
    assert not vendor.journal.requests


def test_the_control_plane_is_served_next_to_it(gateway: RunningGateway) -> None:
    assert gateway.get("/healthz").json() == {"status": "ok"}
    assert gateway.get("/readyz").json() == {"status": "ready", "missing": []}
    assert httpx.head(f"{gateway.url}/healthz").status_code == 200
    assert httpx.get(f"{gateway.url}/admin/").status_code == 302


def test_web_sockets_are_turned_away(gateway: RunningGateway) -> None:
    upgrade = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for path in ("/v1/chat/completions", "/admin/"):
        assert httpx.get(f"{gateway.url}{path}", headers=upgrade).status_code == 403
