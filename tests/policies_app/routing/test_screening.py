"""Which steps and judges a request can be sent to: health, money, confidence, and the delay of a hedge."""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import pytest

from policies_app.routing.choose import choose
from policies_app.routing.codes import (
    Capability,
    DropReason,
    HealthState,
    LatencyMeasure,
    LogprobMeasure,
    Pick,
    RefusalCode,
    Strategy,
    Tier,
)
from policies_app.routing.compilation import compile_policy
from policies_app.routing.document import RouteDocument, StepDocument
from policies_app.routing.types import (
    Decision,
    DroppedCandidate,
    FleetState,
    Judge,
    KilledTargets,
    LatencyQuery,
    LatencyReading,
    RoutePlan,
    Situation,
    TargetHealth,
)
from policies_app.routing.validators import JudgedAtLeast, JudgeReference, LogprobAtLeast, NotRefused
from tests.policies_app.routing.builders import (
    CALM,
    FLEET,
    NOW,
    a_budget,
    a_default,
    a_policy,
    a_route,
    down_to,
    some_facts,
)

HALF_OPEN, COOLING, OPEN = HealthState.HALF_OPEN, HealthState.COOLING, HealthState.OPEN
HELPFULNESS = JudgeReference(name="helpfulness", version=2)
JUDGE = Judge(
    name="helpfulness",
    version=2,
    model="frontier",
    instructions="Rate.",
    rubric="Does it help?",
    lowest=0,
    highest=10,
    verdicts={},
    default=0.0,
    timeout_ms=5_000,
    max_output_tokens=8,
)
SURE = LogprobAtLeast(measure=LogprobMeasure.MEAN, at_least=0.5)


def decide(route: RouteDocument, situation: Situation = CALM, **facts: Any) -> Decision:
    compiled = compile_policy(
        document=a_policy(a_default(route)), version=1, catalogue=FLEET, judges={("helpfulness", 2): JUDGE}
    )
    return choose(document=compiled, facts=some_facts(**facts), situation=situation, now=NOW, seed=1)


def plan_of(decision: Decision) -> RoutePlan:
    assert decision.plan is not None, decision.refusal
    return decision.plan


def names(decision: Decision) -> list[str]:
    return [candidate.model.name for candidate in plan_of(decision).candidates]


def faring(**states: HealthState | tuple[HealthState, float]) -> Situation:
    targets = {
        name: TargetHealth(state=state[0], badness=state[1])
        if isinstance(state, tuple)
        else TargetHealth(state=state)
        for name, state in states.items()
    }
    return Situation(fleet=FleetState(targets=targets))


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (faring(small=OPEN), ["mid", "frontier"]),
        (faring(mid=COOLING), ["small", "frontier"]),
        (faring(small=OPEN, mid=COOLING), ["frontier"]),
        # A probe is live traffic that has an alternative.
        (faring(small=HALF_OPEN), ["small", "mid", "frontier"]),
        (faring(small=HALF_OPEN, mid=OPEN), ["small", "frontier"]),
        # All are ejected: the least bad is tried, and nobody else.
        (faring(small=(OPEN, 3.0), mid=(OPEN, 1.0), frontier=(COOLING, 2.0)), ["mid"]),
        # Whoever may be probed is better than all that are ejected.
        (faring(small=(OPEN, 0.1), mid=(HALF_OPEN, 9.0), frontier=(OPEN, 0.2)), ["mid"]),
        (faring(small=(HALF_OPEN, 9.0), mid=(OPEN, 0.1), frontier=(HALF_OPEN, 0.2)), ["frontier"]),
        (faring(gone=OPEN), ["small", "mid", "frontier"]),
    ],
)
def test_ejected_targets_are_left_out_but_never_all_of_them(
    situation: Situation, expected: list[str]
) -> None:
    decision = decide(a_route("small", "mid", "frontier"), situation)

    assert names(decision) == expected
    assert {drop.reason for drop in decision.dropped} <= {DropReason.OPEN_BREAKER}


def test_a_target_that_cannot_take_the_request_is_no_alternative_to_an_ejected_one() -> None:
    decision = decide(a_route("small", "mid"), faring(mid=OPEN), needs=frozenset({Capability.VISION}))

    assert names(decision) == ["mid"]
    assert plan_of(decision).candidates[0].state is OPEN


def test_a_killed_target_is_not_tried_even_if_all_others_are_ejected() -> None:
    situation = replace(faring(mid=OPEN), killed=KilledTargets(models=frozenset({"small", "mid"})))

    assert decide(a_route("small", "mid"), situation).refusal.code is RefusalCode.KILLED


def test_an_ejected_target_says_until_when() -> None:
    until = NOW + timedelta(seconds=30)
    situation = Situation(fleet=FleetState(targets={"small": TargetHealth(state=COOLING, until=until)}))

    assert decide(a_route("small", "mid"), situation).dropped == (
        DroppedCandidate(
            model="small", reason=DropReason.OPEN_BREAKER, detail="rate limited until 12:00:30 UTC"
        ),
    )


def test_a_step_that_can_cost_more_than_the_rule_allows_is_left_out() -> None:
    route = a_route("frontier", "small")
    bounds = {candidate.model.name: candidate.bound_nanos for candidate in plan_of(decide(route)).candidates}

    just = decide(replace(route, max_cost_nanos=bounds["frontier"]))
    less = decide(replace(route, max_cost_nanos=bounds["frontier"] - 1))
    none = decide(replace(route, max_cost_nanos=bounds["small"] - 1))

    assert names(just) == ["frontier", "small"]
    assert names(less) == ["small"]
    assert [drop.reason for drop in less.dropped] == [DropReason.EXCEEDS_COST_BOUND]
    assert "USD" in less.dropped[0].detail
    assert none.refusal.code is RefusalCode.NO_TARGET_AVAILABLE


@pytest.mark.parametrize(
    ("strategy", "pick", "validators", "expected"),
    [
        (Strategy.CASCADE, Pick.FIRST_VALID, (SURE,), ["frontier"]),
        (Strategy.CASCADE, Pick.FIRST_VALID, (NotRefused(),), ["small", "frontier"]),
        (Strategy.PARALLEL, Pick.HIGHEST_CONFIDENCE, (), ["frontier"]),
        (Strategy.FAILOVER, Pick.FIRST_VALID, (SURE,), ["small", "frontier"]),
        (Strategy.FAILOVER, Pick.HIGHEST_CONFIDENCE, (), ["small", "frontier"]),
    ],
)
def test_who_goes_by_confidence_needs_models_that_tell_it(
    strategy: Strategy, pick: Pick, validators: Any, expected: list[str]
) -> None:
    steps = [StepDocument(model=name, validators=validators) for name in ("small", "frontier")]

    decision = decide(a_route(*steps, strategy=strategy, pick=pick))

    assert names(decision) == expected
    assert all(drop.detail == "logprobs" for drop in decision.dropped)


def test_validators_and_weights_reach_the_plan_only_where_the_strategy_reads_them() -> None:
    step = StepDocument(model="small", validators=(NotRefused(),), weight=3)

    cascade = plan_of(decide(a_route(step, strategy=Strategy.CASCADE))).candidates[0]
    failover = plan_of(decide(a_route(step))).candidates[0]

    assert (cascade.validators, cascade.weight) == ((NotRefused(),), 3)
    assert failover.validators == ()


def race(**stated: Any) -> RouteDocument:
    return a_route(
        "small", "mid", **{"strategy": Strategy.PARALLEL, "pick": Pick.JUDGE, "judge": HELPFULNESS} | stated
    )


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (Situation(killed=KilledTargets(models=frozenset({"frontier"}))), DropReason.KILLED),
        (faring(frontier=OPEN), DropReason.OPEN_BREAKER),
        (
            Situation(budgets=(a_budget(steps=down_to(Tier.MID)),)),
            DropReason.TIER_CAPPED,
        ),
    ],
)
def test_a_judge_that_cannot_be_asked_is_left_out_and_the_models_are_asked_all_the_same(
    situation: Situation, reason: DropReason
) -> None:
    decision = decide(race(), situation)

    assert names(decision) == ["small", "mid"]
    assert plan_of(decision).judges == ()
    assert [(drop.model, drop.reason) for drop in decision.dropped] == [("judge helpfulness v2", reason)]


def test_a_judge_is_planned_with_its_model_and_price() -> None:
    (planned,) = plan_of(decide(race())).judges

    assert (planned.judge, planned.model, planned.price) == (
        JUDGE,
        FLEET["frontier"],
        FLEET["frontier"].prices[0],
    )


def test_a_judge_of_another_version_is_another_judge() -> None:
    decision = decide(race(judge=JudgeReference(name="helpfulness", version=1)))

    assert plan_of(decision).judges == ()
    assert decision.dropped[0].reason is DropReason.UNKNOWN_MODEL


def test_the_judges_of_validators_are_planned_once_each() -> None:
    judged = (JudgedAtLeast(judge=HELPFULNESS, at_least=0.5),)
    steps = [StepDocument(model=name, validators=judged) for name in ("small", "mid")]

    plan = plan_of(decide(a_route(*steps, strategy=Strategy.CASCADE)))

    assert [planned.judge.reference for planned in plan.judges] == [HELPFULNESS]


def learned(value_ms: int, samples: int = 100, **fleet: Any) -> Situation:
    query = LatencyQuery(model="small", measure=LatencyMeasure.FIRST_BYTE, percentile=95, window_s=900)
    return Situation(
        fleet=FleetState(latency={query: LatencyReading(value_ms=value_ms, samples=samples)}, **fleet)
    )


@pytest.mark.parametrize(
    ("stated_ms", "situation", "delay_ms"),
    [
        (None, learned(420), 420),
        (300, learned(420), 420),
        (500, learned(420), 500),
        (None, learned(420, samples=19), None),
        (500, learned(420, samples=19), 500),
        (None, CALM, None),
        (None, learned(420, cold_penalty_ms={"small": 1_000, "mid": 5}), 1_420),
        (300, Situation(fleet=FleetState(cold_penalty_ms={"small": 1_000})), 1_300),
    ],
)
def test_a_hedge_waits_for_what_is_usual_and_for_what_the_rule_says(
    stated_ms: int | None, situation: Situation, delay_ms: int | None
) -> None:
    route = a_route("small", "mid", strategy=Strategy.HEDGED, hedge_delay_ms=stated_ms)

    assert plan_of(decide(route, situation)).hedge_delay_ms == delay_ms


def test_nobody_hedges_alone_or_without_being_told_to() -> None:
    killed = replace(learned(420), killed=KilledTargets(models=frozenset({"mid"})))

    assert plan_of(decide(a_route("small", "mid", strategy=Strategy.HEDGED), killed)).hedge_delay_ms is None
    assert plan_of(decide(a_route("small", "mid"), learned(420))).hedge_delay_ms is None


def test_the_plan_carries_what_the_route_says() -> None:
    route = a_route(
        "small",
        "mid",
        strategy=Strategy.PARALLEL,
        deadline_ms=1_234,
        max_attempts=4,
        max_cost_nanos=10**12,
        fall_back_on_long_context=True,
        continue_broken_streams=True,
        pick=Pick.WEIGHTED,
        patience_ms=77,
    )

    plan = plan_of(decide(route))

    assert {
        field.name: getattr(plan, field.name) for field in fields(route) if hasattr(plan, field.name)
    } == {field.name: getattr(route, field.name) for field in fields(route) if hasattr(plan, field.name)}
    assert plan.rule == "default"
