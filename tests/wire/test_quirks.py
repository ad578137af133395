"""A model that refuses what others take works once its row says so; what it costs is what its vendor bills."""

import json
from typing import Any

import openai
import pytest

from policies_app.models import Credential, Model
from policies_app.routing.codes import WireFormat
from policies_app.services.credentials import set_provider_secret
from sandbox.fleet import REASONER
from sandbox.server import SandboxServer
from tests.factories import make_key, make_model, make_policy, make_price, make_provider, make_tenant
from tests.running_servers import VENDOR_SECRET, RunningGateway, attempt_rows, publish

QUESTION: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
ASKED: dict[str, Any] = {"temperature": 0.2, "top_p": 0.9, "stop": ["END"], "max_tokens": 500}
REFUSED = ["temperature", "top_p", "stop"]


@pytest.fixture
def reasoner(vendor: SandboxServer, gateway: RunningGateway) -> Model:
    """The only model of the policy `auto`."""
    provider = make_provider(base_url=vendor.base_url)
    credential = Credential.objects.create(provider=provider, label="test")
    set_provider_secret(credential=credential, secret=VENDOR_SECRET, author_name="test")
    model = make_model(
        "reasoner",
        provider=provider,
        input_nanos=None,
        wire_name=REASONER.name,
        context_window_tokens=REASONER.context_limit_tokens,
        max_output_tokens=REASONER.output_limit_tokens,
    )
    make_price(
        model,
        input_nanos=REASONER.price.input_nanos,
        output_nanos=REASONER.price.output_nanos,
        cached_input_nanos=REASONER.price.cached_input_nanos,
    )
    publish(make_policy("auto", models=[model]))
    return model


@pytest.fixture
def client(gateway: RunningGateway, reasoner: Model) -> openai.OpenAI:
    return gateway.client(make_key(make_tenant()).text)


def change(gateway: RunningGateway, model: Model, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(model, name, value)
    model.save()
    gateway.catch_up()


def test_a_model_that_refuses_parameters_answers_once_its_row_says_so(
    vendor: SandboxServer, gateway: RunningGateway, reasoner: Model, client: openai.OpenAI
) -> None:
    gateway.catch_up()
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="auto", messages=QUESTION, **ASKED)
    before = vendor.ledger.total_nanos

    change(gateway, reasoner, refused_parameters=REFUSED, output_limit_parameter="max_completion_tokens")
    answer = client.chat.completions.with_raw_response.create(model="auto", messages=QUESTION, **ASKED)

    reply = answer.parse()
    assert reply.choices[0].message.content == "The capital of France is Paris."
    assert reply.usage is not None
    assert reply.usage.completion_tokens_details is not None
    assert reply.usage.completion_tokens_details.reasoning_tokens == 64
    assert answer.headers["x-dispatch-dropped"] == "stop, temperature, top_p"
    assert attempt_rows()[-1]["cost_nanos"] == vendor.ledger.total_nanos - before > 0


def test_streams_are_told_the_same(gateway: RunningGateway, reasoner: Model, client: openai.OpenAI) -> None:
    change(gateway, reasoner, refused_parameters=REFUSED, output_limit_parameter="max_completion_tokens")

    answer = client.chat.completions.with_raw_response.create(
        model="auto", messages=QUESTION, stream=True, **ASKED
    )

    said = "".join(chunk.choices[0].delta.content or "" for chunk in answer.parse() if chunk.choices)
    assert said == "The capital of France is Paris."
    assert answer.headers["x-dispatch-dropped"] == "stop, temperature, top_p"


def test_prompt_fragments_reach_the_vendor_and_are_paid_for(
    vendor: SandboxServer, gateway: RunningGateway, reasoner: Model, client: openai.OpenAI
) -> None:
    change(
        gateway,
        reasoner,
        system_prefix="Think in French.",
        system_suffix="/no_think",
        system_role="developer",
        output_limit_parameter="max_completion_tokens",
        fixed_parameters={"chat_template_kwargs": {"enable_thinking": False}},
    )
    before = vendor.ledger.total_nanos

    client.chat.completions.create(model="auto", messages=QUESTION, max_tokens=500)

    sent = json.loads(vendor.journal.requests[-1].body)
    assert sent["messages"] == [
        {"role": "developer", "content": "Think in French.\n\n/no_think"},
        *QUESTION,
    ]
    assert sent["chat_template_kwargs"] == {"enable_thinking": False}
    (attempt,) = attempt_rows()
    assert attempt["cost_nanos"] == vendor.ledger.total_nanos - before
    assert attempt["cost_nanos"] <= attempt["reserved_nanos"]


@pytest.mark.parametrize("wire_format", [WireFormat.ANTHROPIC_MESSAGES])
def test_a_row_lets_a_request_through_that_its_vendors_format_has_no_words_for(
    gateway: RunningGateway, reasoner: Model, client: openai.OpenAI, wire_format: WireFormat
) -> None:
    reasoner.provider.wire_format = wire_format
    reasoner.provider.save()
    gateway.catch_up()
    with pytest.raises(openai.APIStatusError):
        client.chat.completions.create(model="auto", messages=QUESTION, seed=7)

    change(gateway, reasoner, refused_parameters=["seed"])
    answer = client.chat.completions.with_raw_response.create(model="auto", messages=QUESTION, seed=7)

    assert answer.parse().choices[0].message.content == "The capital of France is Paris."
    assert answer.headers["x-dispatch-dropped"] == "seed"
