"""Requests for embeddings and models that embed belong to each other, and to nobody else."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings

from policies_app.routing.bedrock_embeddings import Maker, family_of
from policies_app.routing.choose import choose
from policies_app.routing.codes import (
    Capability,
    DropReason,
    LogprobMeasure,
    Pick,
    Severity,
    Strategy,
    WireFeature,
    WireFormat,
)
from policies_app.routing.compilation import compile_policy
from policies_app.routing.conditions import NeedsAll
from policies_app.routing.document import PolicyDocument, StepDocument
from policies_app.routing.explain import explain
from policies_app.routing.types import Catalogue, CatalogueModel, Facts, Judges, Situation
from policies_app.routing.validators import JudgedAtLeast, JudgeReference, LogprobAtLeast, NotRefused
from policies_app.routing.verify import verify
from policies_app.routing.worst_case import worst_case
from tests.policies_app.routing.builders import (
    CALM,
    FLEET,
    NOW,
    a_default,
    a_judge,
    a_model,
    a_policy,
    a_price,
    a_route,
    a_rule,
    decide,
    planned,
    some_facts,
)
from tests.policies_app.routing.strategies import catalogues, documents, facts, judges, situations

EMBEDDINGS = frozenset({Capability.EMBEDDINGS})
EMBEDDER = a_model(
    "embedder",
    id=4,
    capabilities=EMBEDDINGS,
    context_window_tokens=8_000,
    max_output_tokens=1,
    prices=(a_price(1),),
)
OTHER = replace(EMBEDDER, name="other", id=5, wire_format=WireFormat.GEMINI)
FLEET_THAT_EMBEDS: Catalogue = {**FLEET, "embedder": EMBEDDER, "other": OTHER}


def embedding_facts(**fields: Any) -> Facts:
    stated: dict[str, Any] = {
        "needs": EMBEDDINGS,
        "features": frozenset({WireFeature.EMBEDDINGS}),
        "longest_input_tokens": 100,
    }
    return some_facts(**stated | fields)


def drops(*steps: str, model: CatalogueModel | None = None, **fields: Any) -> dict[str, tuple[str, str]]:
    catalogue = FLEET_THAT_EMBEDS if model is None else {**FLEET_THAT_EMBEDS, model.name: model}
    decision = decide(
        a_policy(a_default(a_route(*steps))), facts=embedding_facts(**fields), catalogue=catalogue
    )
    return {drop.model: (drop.reason, drop.detail) for drop in decision.dropped}


@settings(max_examples=200, deadline=None)
@given(documents(), catalogues, facts, situations, judges)
def test_no_request_is_planned_for_a_model_of_the_other_kind(
    document: PolicyDocument, fleet: Catalogue, request: Facts, situation: Situation, known: Judges
) -> None:
    compiled = compile_policy(document=document, version=1, catalogue=fleet, judges=known)

    plan = choose(document=compiled, facts=request, situation=situation, now=NOW, seed=1).plan

    if plan is not None:
        assert {candidate.model.embeds for candidate in plan.candidates} == {request.is_for_embeddings}
        assert not any(planned.model.embeds for planned in plan.judges)
    if plan is not None and request.is_for_embeddings:
        assert plan.strategy in {Strategy.SINGLE, Strategy.FAILOVER}
        assert plan.judges == ()
        assert all(candidate.output_tokens_limit == 0 for candidate in plan.candidates)
        assert not any(candidate.validators for candidate in plan.candidates)


@pytest.mark.parametrize("strategy", [Strategy.CASCADE, Strategy.PARALLEL, Strategy.HEDGED])
def test_steps_are_asked_in_order_whatever_the_strategy_and_the_reason_says_so(strategy: Strategy) -> None:
    checks = (NotRefused(), LogprobAtLeast(measure=LogprobMeasure.MEAN, at_least=0.5))
    steps = tuple(StepDocument(model=name, validators=checks) for name in ("embedder", "other"))
    route = a_route(*steps, strategy=strategy, pick=Pick.HIGHEST_CONFIDENCE, hedge_delay_ms=5)

    decision = decide(a_policy(a_default(route)), facts=embedding_facts(), catalogue=FLEET_THAT_EMBEDS)

    assert decision.plan is not None
    assert (decision.plan.strategy, decision.plan.set_aside) == (Strategy.FAILOVER, strategy)
    assert planned(decision) == ["embedder", "other"]
    words = explain(decision=decision)
    assert "embedder is first, then other." in words
    assert f"Embeddings are asked for in order: {strategy} is for answers in words." in words


def test_nothing_is_said_where_the_strategy_is_carried_out_as_it_stands() -> None:
    for strategy, steps in ((Strategy.SINGLE, ("embedder",)), (Strategy.FAILOVER, ("embedder", "other"))):
        decision = decide(
            a_policy(a_default(a_route(*steps, strategy=strategy))),
            facts=embedding_facts(),
            catalogue=FLEET_THAT_EMBEDS,
        )
        assert decision.plan is not None
        assert (decision.plan.strategy, decision.plan.set_aside) == (strategy, None)


def test_the_longest_text_has_to_fit_and_all_of_them_are_paid_for() -> None:
    facts = embedding_facts(
        inputs=50, input_tokens=300_000, input_tokens_bound=400_000, longest_input_tokens=8_000
    )
    decision = decide(a_policy(a_default(a_route("embedder"))), facts=facts, catalogue=FLEET_THAT_EMBEDS)

    assert decision.plan is not None
    # The dearest price of an input token is that of writing to the cache, 1.25 USD a million.
    assert decision.plan.candidates[0].bound_nanos == 400_000 * 1_250
    assert drops("embedder", longest_input_tokens=8_001) == {
        "embedder": (DropReason.CONTEXT_TOO_SMALL, "8001 tokens are needed and 8000 fit")
    }


@pytest.mark.parametrize(
    ("wire_format", "wire_name", "fields", "detail"),
    [
        (WireFormat.ANTHROPIC_MESSAGES, "claude", {}, "embeddings in anthropic_messages"),
        (WireFormat.BEDROCK_CONVERSE, "amazon.nova-embed", {}, "embeddings in bedrock_converse"),
        (WireFormat.GEMINI, "m", {"features": frozenset({WireFeature.TOKENIZED_INPUT})}, "tokenized_input in gemini"),
        (WireFormat.GEMINI, "m", {"inputs": 101}, "room for 101 inputs, 100 at a time"),
        (WireFormat.GEMINI, "m", {"inputs": 100}, ""),
        (WireFormat.OPENAI_CHAT, "m", {"inputs": 2_048}, ""),
        (WireFormat.BEDROCK_CONVERSE, "amazon.titan-embed-text-v2:0", {"inputs": 2}, "room for 2 inputs, 1 at a time"),
        (
            WireFormat.BEDROCK_CONVERSE,
            "amazon.titan-embed-text-v1",
            {"features": frozenset({WireFeature.EMBEDDING_DIMENSIONS})},
            "embedding_dimensions in bedrock_converse",
        ),
        (
            WireFormat.BEDROCK_CONVERSE,
            "amazon.titan-embed-text-v2:0",
            {"features": frozenset({WireFeature.EMBEDDING_DIMENSIONS})},
            "",
        ),
        (WireFormat.BEDROCK_CONVERSE, "us.cohere.embed-v4:0", {"inputs": 96}, ""),
    ],
)  # fmt: skip
def test_what_a_model_cannot_be_asked_takes_it_out(
    wire_format: WireFormat, wire_name: str, fields: dict[str, Any], detail: str
) -> None:
    model = replace(EMBEDDER, wire_format=wire_format, wire_name=wire_name)

    dropped = drops("embedder", model=model, **fields)

    assert dropped == ({"embedder": (DropReason.LACKS_CAPABILITY, detail)} if detail else {})


@pytest.mark.parametrize(
    ("wire_name", "maker"),
    [
        ("amazon.titan-embed-g1-text-02", Maker.TITAN),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0", Maker.TITAN),
        ("global.cohere.embed-v4:0", Maker.COHERE),
        ("cohere.embed-multilingual-v3", Maker.COHERE),
        ("amazon.titan-embed-image-v1", None),
        ("anthropic.claude-sonnet-4", None),
    ],
)
def test_a_family_is_told_by_the_id(wire_name: str, maker: Maker | None) -> None:
    family = family_of(wire_name)

    assert (None if family is None else family.maker) is maker


def test_a_judge_that_embeds_cannot_be_asked() -> None:
    judge = a_judge(model="embedder")
    check = JudgedAtLeast(judge=JudgeReference(name="helpfulness", version=2), at_least=0.5)
    steps = (StepDocument(model="small", validators=(check,)), StepDocument(model="mid"))
    document = a_policy(a_default(a_route(*steps, strategy=Strategy.CASCADE)))
    known = {("helpfulness", 2): judge}
    compiled = compile_policy(document=document, version=1, catalogue=FLEET_THAT_EMBEDS, judges=known)

    decision = choose(document=compiled, facts=some_facts(), situation=CALM, now=NOW, seed=1)

    assert [(drop.model, drop.detail) for drop in decision.dropped] == [
        ("judge helpfulness v2", "everything but embeddings")
    ]
    found = verify(document=document, catalogue=FLEET_THAT_EMBEDS, judges=known, now=NOW)
    assert [(finding.severity, finding.code) for finding in found] == [(Severity.ERROR, "capability_gap")]


NEEDS = NeedsAll(capabilities=(Capability.EMBEDDINGS,))


@pytest.mark.parametrize(
    ("route", "conditions", "codes"),
    [
        (a_route("embedder"), (NEEDS,), []),
        (a_route("embedder", "other"), (NEEDS,), []),
        (a_route("embedder"), (), ["embeddings_only"]),
        (a_route("embedder", "other", strategy=Strategy.HEDGED), (NEEDS,), ["ignored_strategy"]),
        (a_route("embedder", "small"), (), ["mixed_route"]),
        (a_route("embedder", "small"), (NEEDS,), ["capability_gap"]),
        (a_route("small"), (NEEDS,), ["capability_gap"]),
        # Neither kind is a fallback of the other.
        (a_route("embedder", "frontier", allow_dearer_fallback=False), (), ["mixed_route"]),
    ],
)
def test_publishing_says_which_requests_a_rule_cannot_take(
    route: Any, conditions: Any, codes: list[str]
) -> None:
    document = a_policy(a_rule("vectors", *conditions, route=route))

    found = verify(document=document, catalogue=FLEET_THAT_EMBEDS, now=NOW)

    assert [finding.code for finding in found if finding.rule == "vectors"] == codes


def test_the_worst_case_of_a_text_is_its_context_and_no_output() -> None:
    dear = replace(EMBEDDER, prices=(a_price(1, output_nanos=10**12),))
    rule = a_default(a_route("embedder", max_attempts=1))

    worst = worst_case(rule=rule, catalogue={"embedder": dear}, now=NOW)

    assert worst.cost_nanos == 8_000 * 1_250
