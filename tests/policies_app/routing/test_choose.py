from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies_app.routing.choose import choose
from policies_app.routing.codes import (
    BudgetAction,
    Capability,
    DropReason,
    RefusalCode,
    RefusedParameter,
    Strategy,
    Tier,
    WireFeature,
    WireFormat,
)
from policies_app.routing.compilation import compile_policy, direct_policy
from policies_app.routing.conditions import InputTokensBetween, TaskIs, TenantIs
from policies_app.routing.document import PolicyDocument, StepDocument
from policies_app.routing.quirks import Quirks
from policies_app.routing.types import Refusal, RuleTrace, Situation
from tests.policies_app.routing.builders import (
    CALM,
    FLEET,
    FRONTIER,
    MID,
    NOW,
    SMALL,
    a_budget,
    a_default,
    a_policy,
    a_price,
    a_route,
    a_rule,
    decide,
    down_to,
    fleet_with,
    killing,
    planned,
    some_facts,
)

ALL_THREE = a_route("small", "mid", "frontier")


def test_the_first_rule_that_matches_is_taken() -> None:
    document = a_policy(
        a_rule("code", TaskIs(tasks=("code",)), route=a_route("frontier")),
        a_rule("support", TaskIs(tasks=("support",)), route=a_route("mid")),
        a_rule("acme", TenantIs(tenants=("acme",)), route=a_route("small")),
    )

    decision = decide(document)

    assert (decision.policy, decision.version, decision.rule, decision.seed) == ("auto", 3, "support", 7)
    assert planned(decision) == ["mid"]


def test_all_conditions_of_a_rule_must_hold() -> None:
    document = a_policy(
        a_rule(
            "both",
            TaskIs(tasks=("support",)),
            TenantIs(tenants=("globex",)),
            route=a_route("frontier"),
        )
    )

    assert decide(document).rule == "default"


def test_the_trace_says_what_each_rule_expected_and_met() -> None:
    document = a_policy(
        a_rule("code", TaskIs(tasks=("code",))),
        a_rule("long", TaskIs(tasks=("support",)), InputTokensBetween(minimum=5000)),
        a_rule("support", TaskIs(tasks=("support",)), TenantIs(tenants=("acme",))),
    )

    assert tuple(decide(document).trace) == (
        RuleTrace(
            rule="code", matched=False, failed="task", expected="task is code", actual="task is support"
        ),
        RuleTrace(
            rule="long",
            matched=False,
            failed="input_tokens",
            expected="estimated input is at least 5000 tokens",
            actual="estimated input is 100 tokens",
        ),
        RuleTrace(
            rule="support",
            matched=True,
            expected="task is support and tenant is acme",
            actual="task is support, tenant is acme",
        ),
    )


def test_the_trace_ends_at_the_match_and_reads_like_a_tuple() -> None:
    trace = decide(a_policy(a_rule("code", TaskIs(tasks=("code",))), a_rule("any"), a_rule("never"))).trace

    assert [seen.rule for seen in trace] == ["code", "any"]
    assert (len(trace), trace[-1].rule, trace[-2:]) == (2, "any", tuple(trace))
    with pytest.raises(IndexError):
        _ = trace[2]


@pytest.mark.parametrize(
    ("killed", "subject"),
    [
        ({"everything": True}, "all traffic"),
        ({"tenants": frozenset({"acme"})}, "tenant acme"),
        ({"api_keys": frozenset({"pk_acme"})}, "API key pk_acme"),
        ({"end_users": frozenset({("acme", "ann")})}, "end user ann of tenant acme"),
        ({"policies": frozenset({"auto"})}, "policy auto"),
    ],
)
def test_a_switch_on_the_request_as_a_whole_refuses_it(killed: dict[str, Any], subject: str) -> None:
    decision = decide(a_policy(), situation=killing(**killed))

    assert decision.plan is None
    assert decision.refusal == Refusal(code=RefusalCode.KILLED, subject=subject)
    assert (decision.rule, tuple(decision.trace)) == (None, ())


@pytest.mark.parametrize(
    "killed",
    [
        {"tenants": frozenset({"globex"})},
        {"end_users": frozenset({("globex", "ann")})},  # the same name at another tenant
        {"policies": frozenset({"other"})},
        {"models": frozenset({"frontier"})},
        {"rules": frozenset({("other", "default")})},  # the same name in another policy
    ],
)
def test_a_switch_on_something_else_changes_nothing(killed: dict[str, Any]) -> None:
    assert planned(decide(a_policy(), situation=killing(**killed))) == ["small"]


def test_a_killed_rule_is_skipped_and_traced() -> None:
    document = a_policy(a_rule("support", TaskIs(tasks=("support",)), route=a_route("mid")))

    decision = decide(document, situation=killing(rules=frozenset({("auto", "support")})))

    assert (decision.rule, planned(decision)) == ("default", ["small"])
    assert (decision.trace[0].rule, decision.trace[0].failed) == ("support", "killed")


def test_a_policy_whose_only_matching_rule_is_killed_says_so() -> None:
    decision = decide(a_policy(), situation=killing(rules=frozenset({("auto", "default")})))

    assert decision.refusal == Refusal(code=RefusalCode.KILLED, subject="rule default")
    assert [seen.failed for seen in decision.trace] == ["killed"]


def test_a_draft_without_a_default_is_decided_too() -> None:
    decision = decide(PolicyDocument(name="draft", rules=()))

    assert decision.refusal is not None
    assert decision.refusal.code is RefusalCode.NO_TARGET_AVAILABLE


def test_failover_plans_every_step_in_order() -> None:
    route = replace(ALL_THREE, deadline_ms=900, max_attempts=2)

    decision = decide(a_policy(a_default(route)))

    assert planned(decision) == ["small", "mid", "frontier"]
    assert decision.plan is not None
    assert (decision.plan.strategy, decision.plan.deadline_ms, decision.plan.max_attempts) == (
        Strategy.FAILOVER,
        900,
        2,
    )


def test_single_looks_at_the_first_step_only() -> None:
    route = a_route("small", "mid", strategy=Strategy.SINGLE)

    assert planned(decide(a_policy(a_default(route)))) == ["small"]
    decision = decide(a_policy(a_default(route)), situation=killing(models=frozenset({"small"})))
    assert decision.refusal is not None


def test_a_model_named_twice_is_planned_once_with_its_first_step() -> None:
    route = a_route(
        StepDocument(model="small", timeout_ms=5), "mid", StepDocument(model="small", timeout_ms=9)
    )

    decision = decide(a_policy(a_default(route)))

    assert planned(decision) == ["small", "mid"]
    assert decision.plan is not None
    assert decision.plan.candidates[0].timeout_ms == 5


@pytest.mark.parametrize(
    ("small", "facts", "situation", "reason", "detail"),
    [
        (replace(SMALL, enabled=False), {}, CALM, DropReason.DISABLED, ""),
        (SMALL, {}, killing(models=frozenset({"small"})), DropReason.KILLED, "model small"),
        (SMALL, {}, killing(providers=frozenset({"sandbox"})), DropReason.KILLED, "provider sandbox"),
        (
            SMALL,
            {"needs": frozenset({Capability.VISION, Capability.STREAMING})},
            CALM,
            DropReason.LACKS_CAPABILITY,
            "vision",
        ),
        (
            replace(SMALL, wire_format=WireFormat.ANTHROPIC_MESSAGES),
            {"features": frozenset({WireFeature.SEED, WireFeature.IMAGE_URLS})},
            CALM,
            DropReason.LACKS_CAPABILITY,
            "seed in anthropic_messages",
        ),
        (
            replace(SMALL, wire_format=WireFormat.GEMINI),
            {"features": frozenset({WireFeature.IMAGE_URLS, WireFeature.PLAIN_HTTP_IMAGES})},
            CALM,
            DropReason.LACKS_CAPABILITY,
            "plain_http_images in gemini",
        ),
        (
            replace(SMALL, context_window_tokens=100),
            {},
            CALM,
            DropReason.CONTEXT_TOO_SMALL,
            "101 tokens are needed and 100 fit",
        ),
        (
            replace(SMALL, context_window_tokens=110, quirks=Quirks(system_prefix="x" * 40)),
            {},
            CALM,
            DropReason.CONTEXT_TOO_SMALL,
            "115 tokens are needed and 110 fit",
        ),
        (
            replace(SMALL, context_window_tokens=149),
            {"output_tokens": 50},
            CALM,
            DropReason.CONTEXT_TOO_SMALL,
            "150 tokens are needed and 149 fit",
        ),
        (replace(SMALL, prices=()), {}, CALM, DropReason.NO_PRICE, ""),
        (
            replace(SMALL, prices=(a_price(effective_from=NOW + timedelta(seconds=1)),)),
            {},
            CALM,
            DropReason.NO_PRICE,
            "",
        ),
        (
            replace(SMALL, tier=Tier.FRONTIER),
            {},
            Situation(budgets=(a_budget(steps=down_to(Tier.MID)),)),
            DropReason.TIER_CAPPED,
            "budget month caps the tier at mid",
        ),
    ],
)
def test_a_step_that_cannot_take_the_request_is_dropped_with_its_reason(
    small: Any, facts: dict[str, Any], situation: Situation, reason: DropReason, detail: str
) -> None:
    document = a_policy(a_default(a_route("small", "mid")))

    decision = decide(document, facts=some_facts(**facts), situation=situation, catalogue=fleet_with(small))

    assert planned(decision) == ["mid"]
    assert [(drop.model, drop.reason, drop.detail) for drop in decision.dropped] == [
        ("small", reason, detail)
    ]


@pytest.mark.parametrize(
    ("refused", "features", "is_planned"),
    [
        (set(), {WireFeature.SEED}, False),
        ({RefusedParameter.SEED}, {WireFeature.SEED}, True),
        # One feature that stays unsaid is enough.
        ({RefusedParameter.SEED}, {WireFeature.SEED, WireFeature.LOGIT_BIAS}, False),
        ({RefusedParameter.PRESENCE_PENALTY}, {WireFeature.PENALTIES}, False),
        (
            {RefusedParameter.PRESENCE_PENALTY, RefusedParameter.FREQUENCY_PENALTY},
            {WireFeature.PENALTIES},
            True,
        ),
        ({RefusedParameter.TEMPERATURE}, {WireFeature.TEMPERATURE_ABOVE_ONE}, True),
        # Nothing stands for these.
        (set(RefusedParameter), {WireFeature.MULTIPLE_CHOICES}, False),
    ],
)
def test_what_a_models_row_leaves_out_does_not_keep_requests_away_from_it(
    refused: set[RefusedParameter], features: set[WireFeature], is_planned: bool
) -> None:
    small = replace(
        SMALL,
        wire_format=WireFormat.ANTHROPIC_MESSAGES,
        quirks=Quirks(refused_parameters=frozenset(refused)),
    )

    decision = decide(
        a_policy(a_default(a_route("small", "mid"))),
        facts=some_facts(features=frozenset(features)),
        catalogue=fleet_with(small),
    )

    assert ("small" in planned(decision)) is is_planned


def test_what_a_models_row_adds_to_the_prompt_leaves_less_room_for_the_answer() -> None:
    small = replace(SMALL, context_window_tokens=500, quirks=Quirks(system_suffix="x" * 40))

    decision = decide(a_policy(), catalogue=fleet_with(small))

    assert decision.plan is not None
    assert decision.plan.candidates[0].output_tokens_limit == 500 - 100 - 14


def test_a_model_that_the_catalogue_does_not_know_is_dropped() -> None:
    decision = decide(a_policy(a_default(a_route("gone", "small"))))

    assert planned(decision) == ["small"]
    assert (decision.dropped[0].model, decision.dropped[0].reason) == ("gone", DropReason.UNKNOWN_MODEL)


@pytest.mark.parametrize(
    ("budget", "models"),
    [
        (a_budget(used_nanos=79), ["small", "mid", "frontier"]),  # not there yet
        (a_budget(used_nanos=80), ["small"]),
        (a_budget(used_nanos=80, steps=down_to(Tier.MID)), ["small", "mid"]),
        (a_budget(used_nanos=99, action=BudgetAction.REJECT), ["small", "mid", "frontier"]),
        (a_budget(used_nanos=99, action=BudgetAction.ALERT), ["small", "mid", "frontier"]),
    ],
)
def test_a_downgrading_budget_caps_the_tier_from_its_threshold_on(budget: Any, models: list[str]) -> None:
    decision = decide(a_policy(a_default(ALL_THREE)), situation=Situation(budgets=(budget,)))

    assert planned(decision) == models


@pytest.mark.parametrize(
    ("used", "models"),
    [
        (79, ["small", "mid", "frontier"]),
        (80, ["small", "mid"]),
        (94, ["small", "mid"]),
        (95, ["small"]),
        (130, ["small"]),
    ],
)
def test_a_downgrading_budget_goes_down_step_by_step(used: int, models: list[str]) -> None:
    budget = a_budget(used_nanos=used, steps=down_to(Tier.MID) + down_to(Tier.SMALL, from_pct=95))

    decision = decide(a_policy(a_default(ALL_THREE)), situation=Situation(budgets=(budget,)))

    assert planned(decision) == models


def test_a_model_that_costs_nothing_is_asked_whatever_the_cap() -> None:
    free = a_price(
        input_nanos=0, cached_input_nanos=0, cache_write_nanos=0, output_nanos=0, reasoning_nanos=0
    )
    catalogue = fleet_with(replace(FRONTIER, prices=(free,)))

    decision = decide(
        a_policy(a_default(ALL_THREE)), situation=Situation(budgets=(a_budget(),)), catalogue=catalogue
    )

    assert planned(decision) == ["small", "frontier"]


def test_the_lowest_of_several_caps_holds_and_is_named() -> None:
    budgets = (
        a_budget(name="tenant", steps=down_to(Tier.MID)),
        a_budget(name="user", steps=down_to(Tier.SMALL)),
    )

    decision = decide(a_policy(a_default(ALL_THREE)), situation=Situation(budgets=budgets))

    assert planned(decision) == ["small"]
    assert {drop.detail for drop in decision.dropped} == {"budget user caps the tier at small"}


@pytest.mark.parametrize(
    ("route", "situation", "code", "subject"),
    [
        (ALL_THREE, killing(providers=frozenset({"sandbox", "other"})), RefusalCode.KILLED, "provider sandbox, provider other"),
        (a_route("mid"), Situation(budgets=(a_budget(),)), RefusalCode.INSUFFICIENT_QUOTA, "mid: budget month caps the tier at small"),
        (
            a_route("small", "mid"),
            replace(killing(models=frozenset({"small"})), budgets=(a_budget(),)),
            RefusalCode.INSUFFICIENT_QUOTA,
            "small: a kill switch stops model small; mid: budget month caps the tier at small",
        ),
        (
            a_route("gone", "mid"),
            Situation(budgets=(a_budget(),)),
            RefusalCode.NO_TARGET_AVAILABLE,
            "gone: not in the catalogue; mid: budget month caps the tier at small",
        ),
        (a_route("gone"), killing(models=frozenset({"small"})), RefusalCode.NO_TARGET_AVAILABLE, "gone: not in the catalogue"),
        (replace(ALL_THREE, steps=()), CALM, RefusalCode.NO_TARGET_AVAILABLE, "rule default has no step"),
    ],
)  # fmt: skip
def test_a_rule_without_a_candidate_refuses_with_what_stood_in_the_way(
    route: Any, situation: Situation, code: RefusalCode, subject: str
) -> None:
    decision = decide(a_policy(a_default(route)), situation=situation)

    assert decision.plan is None
    assert decision.rule == "default"
    assert decision.refusal == Refusal(code=code, subject=subject)


@pytest.mark.parametrize(
    ("asked", "step", "model", "limit"),
    [
        (None, None, {}, 1_000),  # the model's own
        (50, None, {}, 50),  # the caller's
        (50, 40, {}, 40),  # the step's
        (None, 40, {}, 40),
        (5_000, None, {}, 1_000),  # never above the model's
        (None, None, {"context_window_tokens": 160}, 60),  # what the context leaves
        (60, None, {"context_window_tokens": 160}, 60),  # input and output fill it exactly
        (0, None, {}, 1),  # a senseless limit never stops the core
        (-5, None, {}, 1),
    ],
)
def test_the_output_limit_is_the_least_of_all_limits(
    asked: int | None, step: int | None, model: dict[str, int], limit: int
) -> None:
    document = a_policy(a_default(a_route(StepDocument(model="small", max_output_tokens=step))))

    decision = decide(
        document, facts=some_facts(output_tokens=asked), catalogue=fleet_with(replace(SMALL, **model))
    )

    assert decision.plan is not None
    assert decision.plan.candidates[0].output_tokens_limit == limit


def test_a_candidate_carries_the_price_in_force_and_its_bound() -> None:
    old, new = a_price(1, id=1), a_price(3, id=2, effective_from=NOW)
    future = a_price(9, id=3, effective_from=NOW + timedelta(days=1))

    decision = decide(a_policy(), catalogue=fleet_with(replace(SMALL, prices=(old, new, future))))

    assert decision.plan is not None
    candidate = decision.plan.candidates[0]
    assert candidate.price is new
    # 200 tokens of input at the cache-write price of 3.75 USD, 1000 of output at 12 USD per million.
    assert candidate.bound_nanos == 200 * 3_750 + 1_000 * 12_000


def test_a_caller_that_names_a_model_gets_that_model() -> None:
    decision = choose(document=direct_policy(model=MID), facts=some_facts(), situation=CALM, now=NOW, seed=0)

    assert (decision.policy, decision.version, decision.rule) == ("direct", 0, "direct")
    assert planned(decision) == ["mid"]
    assert decision.plan is not None
    assert (decision.plan.strategy, decision.plan.deadline_ms) == (Strategy.SINGLE, 60_000)


def test_a_compiled_policy_knows_its_baseline() -> None:
    known = compile_policy(document=a_policy(baseline_model="frontier"), version=1, catalogue=FLEET)
    unknown = compile_policy(document=a_policy(baseline_model="gone"), version=1, catalogue=FLEET)

    assert known.baseline is FRONTIER
    assert unknown.baseline is None
