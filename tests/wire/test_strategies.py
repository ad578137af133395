"""Cascade, parallel and hedged as the official client meets them, with what they leave in the log."""

from typing import Any

import openai
import pytest

from policies_app.models import Policy, Validator
from policies_app.routing.codes import Pick, Strategy, WhenNonePasses
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import make_judge, make_policy, make_rule
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop, publish

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ASKED: dict[str, Any] = {"model": "wise", "messages": QUESTION, "max_tokens": 40}


def says(text: str, *, delay_ms: int = 0) -> Fault:
    return Fault(kind=FaultKind.CONTENT, content=text, delay_ms=delay_ms)


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    return open_shop(vendor)


def serve(
    shop: Shop, gateway: RunningGateway, strategy: Strategy, *validators: dict[str, Any], **route: Any
) -> Policy:
    """Publish the policy `wise` over small and frontier, whose answers must pass `validators`."""
    policy = make_policy("wise")
    rule = make_rule(
        policy,
        "default",
        models=[shop.fleet.small, shop.fleet.frontier],
        strategy=strategy,
        is_default=True,
        **route,
    )
    for validator in validators:
        Validator.objects.create(rule=rule, **validator)
    publish(policy)
    gateway.catch_up()
    return policy


def ask(gateway: RunningGateway, shop: Shop, *, stream: bool, **fields: Any) -> tuple[str, str | None]:
    """The answer's text, and what its header says of validation."""
    client = gateway.client(shop.key)
    if not stream:
        raw = client.chat.completions.with_raw_response.create(**ASKED, **fields)
        return raw.parse().choices[0].message.content, raw.headers.get("x-dispatch-validated")
    raw = client.chat.completions.with_raw_response.create(**ASKED, **fields, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)
    return text, raw.headers.get("x-dispatch-validated")


@pytest.mark.parametrize("stream", [False, True])
def test_a_cascade_escalates_what_does_not_pass_and_says_so(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, stream: bool
) -> None:
    serve(shop, gateway, Strategy.CASCADE, {"kind": "not_refused"})
    vendor.script(says("I'm sorry, but I can't say."), model="sandbox-small")

    text, validated = ask(gateway, shop, stream=stream)

    (dispatch,) = dispatch_rows()
    first, second = attempt_rows()
    assert "sorry" not in text
    assert validated == "true"
    assert (first["role"], second["role"]) == ("primary", "escalation")
    assert first["validation"][0]["actual"] == "it begins like a refusal"
    assert (dispatch["answered_by"], dispatch["validated"]) == (2, True)
    assert dispatch["cost_nanos"] == vendor.ledger.total_nanos


@pytest.mark.parametrize("stream", [False, True])
def test_an_exhausted_cascade_gives_its_last_answer_as_one_that_did_not_pass(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, stream: bool
) -> None:
    serve(shop, gateway, Strategy.CASCADE, {"kind": "length", "minimum": 10_000})

    text, validated = ask(gateway, shop, stream=stream)

    assert text
    assert validated == "false"
    assert dispatch_rows()[0]["validated"] is False


@pytest.mark.parametrize("stream", [False, True])
def test_an_exhausted_cascade_can_be_an_error(gateway: RunningGateway, shop: Shop, stream: bool) -> None:
    serve(
        shop,
        gateway,
        Strategy.CASCADE,
        {"kind": "length", "minimum": 10_000},
        when_none_passes=WhenNonePasses.FAIL,
    )

    with pytest.raises(openai.APIStatusError) as raised:
        ask(gateway, shop, stream=stream)

    assert raised.value.status_code == 502
    assert raised.value.code == "no_valid_answer"


def test_confidence_is_asked_of_the_vendor_and_hidden_from_the_client(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    serve(shop, gateway, Strategy.CASCADE, {"kind": "logprob", "measure": "mean", "at_least": 0.01})

    reply = gateway.client(shop.key).chat.completions.create(**ASKED)

    assert reply.choices[0].logprobs is None
    (attempt,) = attempt_rows()
    assert 0 < attempt["validation"][0]["score"] <= 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_judge_picks_the_better_of_two_and_is_paid(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, stream: bool
) -> None:
    judge = make_judge("helpfulness", model=shop.fleet.mid, instructions="You rate answers.")
    serve(shop, gateway, Strategy.PARALLEL, pick=Pick.JUDGE, judge=judge)
    vendor.script(says("Berlin"), model="sandbox-small")
    vendor.script(says("Paris"), model="sandbox-frontier")
    vendor.script(says("A"), model="sandbox-mid")

    text, _ = ask(gateway, shop, stream=stream)

    roles = [row["role"] for row in attempt_rows()]
    assert text in {"Berlin", "Paris"}
    assert roles == ["parallel", "parallel", "judge"]
    assert dispatch_rows()[0]["cost_nanos"] == vendor.ledger.total_nanos
    picked = [
        finding["passed"]
        for row in attempt_rows()
        for finding in row["validation"]
        if finding["validator"] == "pick"
    ]
    assert sorted(picked) == [False, True]


@pytest.mark.parametrize("stream", [False, True])
def test_the_slower_of_two_is_stopped_at_the_vendor_and_charged_no_less_than_it_bills(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, stream: bool
) -> None:
    serve(shop, gateway, Strategy.PARALLEL, pick=Pick.FIRST_VALID)
    vendor.script(Fault(chunk_delay_ms=200, delay_ms=200), model="sandbox-frontier")

    ask(gateway, shop, stream=stream)

    (dispatch,) = dispatch_rows()
    rows = {row["model_id"]: row for row in attempt_rows()}
    assert dispatch["model_id"] == shop.fleet.small.pk
    assert rows[shop.fleet.frontier.pk]["fault"] == "superseded"
    assert dispatch["cost_nanos"] >= vendor.ledger.total_nanos
    assert dispatch["first_byte_ms"] < 400


@pytest.mark.parametrize("stream", [False, True])
def test_a_silent_model_is_overtaken_by_its_hedge(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, stream: bool
) -> None:
    serve(shop, gateway, Strategy.HEDGED, hedge_delay_ms=50)
    for _ in range(20):
        ask(gateway, shop, stream=stream)
    vendor.script(Fault(delay_ms=3_000), model="sandbox-small")

    ask(gateway, shop, stream=stream)

    *_, first, second = attempt_rows()
    assert (first["role"], first["fault"]) == ("primary", "superseded")
    assert (second["role"], second["fault"]) == ("hedge", "")
    assert dispatch_rows()[-1]["answered_by"] == 2
    assert dispatch_rows()[-1]["total_ms"] < 2_000


def test_the_reason_names_the_strategy(gateway: RunningGateway, shop: Shop) -> None:
    serve(shop, gateway, Strategy.PARALLEL, pick=Pick.FIRST_VALID)

    ask(gateway, shop, stream=False)

    assert dispatch_rows()[0]["strategy"] == "parallel"
    assert dispatch_rows()[0]["reason"]["words"]
