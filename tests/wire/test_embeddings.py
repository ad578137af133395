"""OpenAI's official client asks for embeddings: formats, batches, dimensions, errors, money, and vendors of three kinds."""

import json
import math
import struct
from base64 import b64decode
from typing import Any

import httpx
import openai
import pytest
from openai.types import CreateEmbeddingResponse

from policies_app.models import Budget, Credential, Model, Provider, Tenant
from policies_app.routing.codes import BudgetPeriod, BudgetScope, Capability, Strategy, Tier, WireFormat
from policies_app.services.credentials import set_provider_secret
from sandbox.embeddings import vector_of
from sandbox.faults import Fault, FaultKind
from sandbox.fleet import EMBEDDING
from sandbox.server import SandboxServer
from sandbox.tokens import count_tokens
from tests.factories import (
    make_budget,
    make_key,
    make_model,
    make_policy,
    make_price,
    make_provider,
    make_rule,
    make_tenant,
)
from tests.running_servers import (
    ACCESS_KEY,
    RunningGateway,
    attempt_rows,
    dispatch_rows,
    make_sandbox_fleet,
    publish,
)

TEXT = "The food was delicious."
OTHER = "Das Essen war köstlich. 🍜"
NANOS_A_TOKEN = EMBEDDING.price.input_nanos // 1_000_000
FRAMING_TOKENS = 16


@pytest.fixture
def embedder(vendor: SandboxServer, gateway: RunningGateway) -> Model:
    return make_embedder("embedder", make_provider(base_url=vendor.base_url), secret="any")


@pytest.fixture
def titan(bedrock: SandboxServer, gateway: RunningGateway) -> Model:
    return make_embedder("titan", behind_bedrock(bedrock), wire_name="amazon.titan-embed-text-v2:0")


@pytest.fixture
def cohere(bedrock: SandboxServer, gateway: RunningGateway) -> Model:
    return make_embedder("cohere", behind_bedrock(bedrock), wire_name="cohere.embed-english-v3")


def behind_bedrock(bedrock: SandboxServer) -> Provider:
    return make_provider(base_url=bedrock.origin, wire_format=WireFormat.BEDROCK_CONVERSE, region="us-east-1")


def make_embedder(
    name: str, provider: Provider, *, wire_name: str = EMBEDDING.name, secret: str = ACCESS_KEY
) -> Model:
    if not provider.credentials.exists():
        credential = Credential.objects.create(provider=provider, label="test")
        set_provider_secret(credential=credential, secret=secret, author_name="test")
    model = make_model(
        name,
        provider=provider,
        input_nanos=None,
        wire_name=wire_name,
        tier=Tier.SMALL,
        capabilities=[Capability.EMBEDDINGS],
        context_window_tokens=EMBEDDING.context_limit_tokens,
        max_output_tokens=1,
    )
    price = EMBEDDING.price
    # A price for output is nothing that embeddings could ever meet.
    make_price(
        model,
        input_nanos=price.input_nanos,
        cached_input_nanos=price.cached_input_nanos,
        output_nanos=10**12,
    )
    return model


def open_shop(gateway: RunningGateway, *models: Model, **key_fields: Any) -> openai.OpenAI:
    """A client of a tenant whose policy `embed` has these models."""
    publish(make_policy("embed", models=models))
    key = make_key(make_tenant("acme"), **key_fields).text
    gateway.catch_up()
    return gateway.client(key)


@pytest.fixture
def client(embedder: Model, gateway: RunningGateway) -> openai.OpenAI:
    return open_shop(gateway, embedder)


def cost_nanos() -> int:
    return sum(int(row["cost_nanos"]) for row in attempt_rows())


def test_a_vector_is_the_vendors_to_the_last_bit_and_costs_what_the_vendor_bills(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    told = client.embeddings.create(model="embed", input=TEXT)

    assert told.data[0].embedding == vector_of(TEXT, 256)
    assert told.model == "embedder"
    assert told.usage.prompt_tokens == told.usage.total_tokens == count_tokens(TEXT)
    assert cost_nanos() == vendor.ledger.total_nanos == count_tokens(TEXT) * NANOS_A_TOKEN
    CreateEmbeddingResponse.model_validate_json(told.model_dump_json(), strict=True)


@pytest.mark.parametrize("encoding_format", ["float", "base64", None])
def test_the_client_gets_the_format_that_it_asked_for(
    client: openai.OpenAI, vendor: SandboxServer, gateway: RunningGateway, encoding_format: str | None
) -> None:
    body = {"model": "embed", "input": TEXT} | (
        {} if encoding_format is None else {"encoding_format": encoding_format}
    )
    told = gateway.post("/v1/embeddings", client.api_key, json=body).json()["data"][0]["embedding"]

    expected = vector_of(TEXT, 256)
    if encoding_format == "base64":
        assert b64decode(told) == struct.pack("<256f", *expected)
    else:
        assert told == expected
    assert json.loads(vendor.journal.requests[-1].body)["encoding_format"] == "base64"


def test_a_batch_is_one_call_whose_vectors_come_in_order(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    texts = [TEXT, OTHER, "x" * 400, " "]

    told = client.embeddings.create(model="embed", input=texts)

    assert [item.index for item in told.data] == [0, 1, 2, 3]
    assert [item.embedding for item in told.data] == [vector_of(text, 256) for text in texts]
    assert told.usage.prompt_tokens == sum(map(count_tokens, texts))
    assert len(vendor.ledger.entries) == 1
    assert cost_nanos() == vendor.ledger.total_nanos > 0


@pytest.mark.parametrize(("ids", "texts"), [([1, 2, 3], 1), ([[1, 2, 3], [4]], 2)])
def test_token_ids_are_passed_on_and_counted_exactly(client: openai.OpenAI, ids: Any, texts: int) -> None:
    told = client.embeddings.create(model="embed", input=ids)

    assert len(told.data) == texts
    (attempt,) = attempt_rows()
    assert attempt["reserved_nanos"] == attempt["cost_nanos"] == told.usage.prompt_tokens * NANOS_A_TOKEN


def test_fewer_dimensions_are_had_where_they_are_asked_for(client: openai.OpenAI) -> None:
    told = client.embeddings.create(model="embed", input=TEXT, dimensions=16)

    assert told.data[0].embedding == vector_of(TEXT, 16)


def test_nothing_is_reserved_for_output(client: openai.OpenAI) -> None:
    client.embeddings.create(model="embed", input=[TEXT, OTHER])

    (attempt,) = attempt_rows()
    most_tokens = len(TEXT) + len(OTHER.encode()) + 2 * FRAMING_TOKENS
    assert attempt["reserved_nanos"] == most_tokens * NANOS_A_TOKEN
    assert attempt["cost_nanos"] <= attempt["reserved_nanos"]
    assert (attempt["output_tokens"], attempt["estimated"]) == (0, False)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [TEXT, ""]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [TEXT, 5]}, "input[1]"),
        ({"input": [[1, -1]]}, "input[0][1]"),
        ({"input": ["x"] * 2_049}, "input"),
        ({"input": TEXT, "dimensions": 0}, "dimensions"),
        ({"input": TEXT, "encoding_format": "int8"}, "encoding_format"),
        ({"input": TEXT, "stream": True}, "stream"),
        ({"input": TEXT, "api_base": "http://elsewhere"}, "api_base"),
    ],
)
def test_what_is_wrong_with_a_request_is_named_and_nothing_is_logged(
    client: openai.OpenAI, gateway: RunningGateway, fields: dict[str, Any], param: str
) -> None:
    answer = gateway.post("/v1/embeddings", client.api_key, json={"model": "embed"} | fields)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert dispatch_rows() == []


def test_a_budget_that_does_not_cover_the_worst_case_refuses(
    embedder: Model, vendor: SandboxServer, gateway: RunningGateway
) -> None:
    client = open_shop(gateway, embedder)
    worst_nanos = (len(TEXT) + FRAMING_TOKENS) * NANOS_A_TOKEN
    budget = make_budget(
        Tenant.objects.get(name="acme"),
        scope=BudgetScope.TENANT,
        period=BudgetPeriod.LIFETIME,
        limit_nanos=worst_nanos - 1,
    )
    gateway.catch_up()

    with pytest.raises(openai.RateLimitError) as refused:
        client.embeddings.create(model="embed", input=TEXT)
    assert refused.value.code == "insufficient_quota"
    assert vendor.ledger.entries == ()

    Budget.objects.filter(pk=budget.pk).update(limit_nanos=worst_nanos)
    gateway.catch_up()
    assert client.embeddings.create(model="embed", input=TEXT).data


def test_the_next_vendor_is_asked_when_the_first_fails(
    embedder: Model, titan: Model, vendor: SandboxServer, bedrock: SandboxServer, gateway: RunningGateway
) -> None:
    client = open_shop(gateway, embedder, titan)
    vendor.script("503", model=EMBEDDING.name)

    answer = client.embeddings.with_raw_response.create(model="embed", input=TEXT)

    assert answer.headers["x-dispatch-model"] == "titan"
    assert answer.headers["x-dispatch-attempts"] == "2"
    assert answer.parse().data[0].embedding == vector_of(TEXT, 1_024)
    assert cost_nanos() == vendor.ledger.total_nanos + bedrock.ledger.total_nanos > 0
    (request,) = bedrock.journal.requests
    assert request.target == "/model/amazon.titan-embed-text-v2:0/invoke"
    assert request.header("authorization").startswith("AWS4-HMAC-SHA256 ")  # type: ignore[union-attr] # the vendor took it


@pytest.mark.parametrize("encoding_format", ["float", "base64"])
def test_cohere_embeds_a_batch_for_what_the_vendor_counts_in_a_header(
    cohere: Model, bedrock: SandboxServer, gateway: RunningGateway, encoding_format: Any
) -> None:
    client = open_shop(gateway, cohere)

    answer = client.embeddings.with_raw_response.create(
        model="embed",
        input=[TEXT, OTHER],
        encoding_format=encoding_format,
        extra_body={"input_type": "search_query", "priority": 1},
    )

    expected = [vector_of(text, 1_024) for text in (TEXT, OTHER)]
    told = answer.parse()
    if encoding_format == "base64":
        assert [b64decode(str(item.embedding)) for item in told.data] == [
            struct.pack("<1024f", *vector) for vector in expected
        ]
    else:
        assert [item.embedding for item in told.data] == expected
    assert json.loads(bedrock.journal.requests[-1].body)["input_type"] == "search_query"
    assert answer.headers["x-dispatch-dropped"] == "priority"
    assert cost_nanos() == bedrock.ledger.total_nanos > 0


def test_gemini_embeds_a_batch_for_what_the_vendor_bills(
    bedrock: SandboxServer, gateway: RunningGateway
) -> None:
    provider = make_provider(base_url=f"{bedrock.origin}/v1beta", wire_format=WireFormat.GEMINI)
    client = open_shop(gateway, make_embedder("gemini", provider))

    told = client.embeddings.create(
        model="embed", input=[TEXT, OTHER], dimensions=32, extra_body={"input_type": "clustering"}
    )

    assert [item.embedding for item in told.data] == [vector_of(text, 32) for text in (TEXT, OTHER)]
    assert cost_nanos() == bedrock.ledger.total_nanos > 0
    (sent, _) = json.loads(bedrock.journal.requests[-1].body)["requests"]
    assert (sent["taskType"], sent["outputDimensionality"]) == ("CLUSTERING", 32)


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        ({"input": [1, 2]}, {"titan": "tokenized_input in", "cohere": "tokenized_input in"}),
        ({"input": [TEXT, OTHER]}, {"titan": "room for 2 inputs, 1 at a time"}),
        (
            {"input": ["x"] * 97},
            {"titan": "room for 97 inputs, 1 at a time", "cohere": "room for 97 inputs, 96 at a time"},
        ),
        ({"input": TEXT, "dimensions": 256}, {"cohere": "embedding_dimensions in"}),
    ],
)
def test_what_a_model_cannot_be_asked_takes_it_out_of_the_plan(
    titan: Model, cohere: Model, gateway: RunningGateway, fields: dict[str, Any], lacking: dict[str, str]
) -> None:
    client = open_shop(gateway, titan, cohere)

    told = gateway.post("/v1/explain", client.api_key, json={"model": "embed"} | fields).json()

    assert {drop["model"] for drop in told["dropped"]} == set(lacking)
    for drop in told["dropped"]:
        assert drop["reason"] == "lacks_capability"
        assert drop["detail"].startswith(lacking[drop["model"]])
        assert f"lacks {drop['detail']}" in told["reason"]
    if len(lacking) == 2:
        with pytest.raises(openai.APIStatusError) as refused:
            client.embeddings.create(model="embed", **fields)
        assert refused.value.code == "no_target_available"
        assert "x-dispatch-reason" in refused.value.message
        assert refused.value.response.headers["x-should-retry"] == "false"


def test_a_model_that_embeds_is_asked_for_nothing_else_and_no_other_embeds(
    embedder: Model, vendor: SandboxServer, gateway: RunningGateway
) -> None:
    fleet = make_sandbox_fleet(vendor.base_url)
    client = open_shop(gateway, embedder, fleet.small)

    embedded = client.embeddings.with_raw_response.create(model="embed", input=TEXT)
    answered = client.chat.completions.with_raw_response.create(
        model="embed", messages=[{"role": "user", "content": "What is 1 + 1?"}]
    )

    assert embedded.headers["x-dispatch-model"] == "embedder"
    assert "small was left out: lacks embeddings" in embedded.headers["x-dispatch-reason"]
    assert answered.headers["x-dispatch-model"] == "small"
    assert "embedder was left out: lacks everything but embeddings" in answered.headers["x-dispatch-reason"]


@pytest.mark.parametrize("strategy", [Strategy.CASCADE, Strategy.PARALLEL, Strategy.HEDGED])
def test_whatever_the_strategy_steps_are_asked_in_order_and_the_answer_says_so(
    embedder: Model, titan: Model, gateway: RunningGateway, bedrock: SandboxServer, strategy: Strategy
) -> None:
    policy = make_policy("embed")
    make_rule(policy, "default", models=[embedder, titan], is_default=True, strategy=strategy)
    publish(policy)
    client = gateway.client(make_key(make_tenant()).text)
    gateway.catch_up()

    answer = client.embeddings.with_raw_response.create(model="embed", input=TEXT)

    assert answer.headers["x-dispatch-strategy"] == "failover"
    assert f"{strategy} is for answers in words" in answer.headers["x-dispatch-reason"]
    assert bedrock.journal.requests == ()
    assert [row["strategy"] for row in dispatch_rows()] == ["failover"]


@pytest.mark.parametrize(
    ("fault", "cost"),
    [
        # Nothing was reported: what was reserved is charged, and told as usage.
        (Fault(kind=FaultKind.MISSING_USAGE), (len(TEXT) + FRAMING_TOKENS) * NANOS_A_TOKEN),
        (Fault(kind=FaultKind.USAGE, usage={"prompt_tokens": 10**6}), (len(TEXT) + FRAMING_TOKENS) * NANOS_A_TOKEN),
    ],
)  # fmt: skip
def test_usage_that_is_missing_or_absurd_is_charged_at_the_bound(
    client: openai.OpenAI, vendor: SandboxServer, fault: Fault, cost: int
) -> None:
    vendor.script(fault)

    told = client.embeddings.create(model="embed", input=TEXT)

    (attempt,) = attempt_rows()
    assert (attempt["cost_nanos"], attempt["estimated"]) == (cost, True)
    assert told.usage.prompt_tokens * NANOS_A_TOKEN == cost


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("429", 429, "rate_limit_exceeded"),
        ("400", 400, "request_rejected"),
        ("503", 503, "no_target_available"),
        ("malformed_json", 502, "upstream_invalid"),
        ("401", 502, "upstream_unreachable"),
    ],
)
def test_vendors_errors_become_ours(
    client: openai.OpenAI, vendor: SandboxServer, fault: str, status: int, code: str
) -> None:
    vendor.script(fault)

    with pytest.raises(openai.APIStatusError) as failed:
        client.embeddings.create(model="embed", input=TEXT)

    assert (failed.value.status_code, failed.value.code) == (status, code)
    assert cost_nanos() >= vendor.ledger.total_nanos


def test_a_repeat_with_the_same_key_is_not_embedded_again(
    embedder: Model, vendor: SandboxServer, gateway: RunningGateway
) -> None:
    publish(make_policy("embed", models=[embedder]))
    client = gateway.client(make_key(make_tenant(replay_answers=True)).text)
    gateway.catch_up()

    first, second = (
        client.embeddings.create(model="embed", input=TEXT, extra_headers={"Idempotency-Key": "once"})
        for _ in range(2)
    )

    assert first.data == second.data
    assert len(vendor.ledger.entries) == 1


def test_tags_users_and_tasks_are_logged_as_on_the_other_endpoints(
    client: openai.OpenAI, vendor: SandboxServer
) -> None:
    client.embeddings.create(
        model="embed",
        input=TEXT,
        user="ann",
        extra_body={"metadata": {"team": "search", "task": "indexing"}},
        extra_headers={"X-Dispatch-Tags": "plan=gold"},
    )

    (row,) = dispatch_rows()
    assert (row["end_user"], row["task"], row["tags"]) == (
        "ann",
        "indexing",
        {"team": "search", "plan": "gold"},
    )
    assert {"user", "metadata"}.isdisjoint(json.loads(vendor.journal.requests[-1].body))


def test_the_native_endpoint_embeds_too_and_tells_the_cost(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    body = {"model": "embed", "input": [TEXT], "task": "indexing", "limits": {"output_tokens": 5}}

    told = gateway.post("/v1/dispatch", client.api_key, json=body).json()

    assert told["data"] == [{"index": 0, "embedding": vector_of(TEXT, 256), "object": "embedding"}]
    assert told["dispatch"]["cost_nanos"] == count_tokens(TEXT) * NANOS_A_TOKEN
    assert told["usage"]["input_tokens"] == count_tokens(TEXT)


def test_what_embeds_saves_nothing_against_a_model_that_writes(
    embedder: Model, vendor: SandboxServer, gateway: RunningGateway
) -> None:
    fleet = make_sandbox_fleet(vendor.base_url)
    publish(make_policy("embed", models=[embedder], baseline_model=fleet.frontier))
    client = gateway.client(make_key(make_tenant()).text)
    gateway.catch_up()

    client.embeddings.create(model="embed", input=TEXT)

    assert [row["baseline_cost_nanos"] for row in dispatch_rows()] == [None]


def test_a_large_batch_comes_whole(client: openai.OpenAI, vendor: SandboxServer) -> None:
    texts = [f"text number {number}" for number in range(2_048)]

    told = client.embeddings.create(model="embed", input=texts, dimensions=64)

    assert len(told.data) == 2_048
    assert math.isclose(math.hypot(*told.data[-1].embedding), 1, abs_tol=1e-5)
    assert cost_nanos() == vendor.ledger.total_nanos > 0


def test_more_token_ids_than_other_bodies_may_hold_values_are_taken(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    ids = [list(range(5_000)) for _ in range(30)]

    answer = gateway.post("/v1/embeddings", client.api_key, json={"model": "embed", "input": ids})

    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["prompt_tokens"] == 150_000


def test_a_wrong_method_is_told(gateway: RunningGateway) -> None:
    assert httpx.get(f"{gateway.url}/v1/embeddings").status_code == 405
