from dataclasses import replace
from typing import Any

import pytest

from policies_app.routing.choose import choose
from policies_app.routing.codes import (
    CHAT_CAPABILITIES,
    BudgetScope,
    Capability,
    DropReason,
    HealthState,
    LatencyMeasure,
    LogprobMeasure,
    Pick,
    Strategy,
    Weekday,
    WhenNonePasses,
)
from policies_app.routing.compilation import compile_policy, direct_policy
from policies_app.routing.conditions import (
    BudgetForecast,
    BudgetUsed,
    Condition,
    HealthDegraded,
    LatencyAbove,
    QualityAtLeast,
    ShareOf,
    TaskIs,
    TenantIs,
    WithinHours,
)
from policies_app.routing.document import StepDocument
from policies_app.routing.explain import explain, explain_drop, explain_rule
from policies_app.routing.types import (
    DroppedCandidate,
    FleetState,
    Judge,
    LatencyQuery,
    LatencyReading,
    Situation,
    TargetHealth,
)
from policies_app.routing.validators import JudgeReference, LogprobAtLeast, NotRefused
from tests.policies_app.routing.builders import (
    CALM,
    MID,
    NOW,
    SMALL,
    a_budget,
    a_default,
    a_policy,
    a_route,
    a_rule,
    decide,
    fleet_with,
    killing,
    some_facts,
)

SUPPORT = a_rule("support", TaskIs(tasks=("chat", "support")), route=a_route("mid", "small"))
MATCHED = "Rule 'support' of policy auto v3 matched because task is one of chat, support."
CAPPED_AND_KILLED = "mid: budget month caps the tier at small; small: a kill switch stops model small"


def test_a_plan_is_explained_by_its_rule_and_the_order_of_its_models() -> None:
    assert explain(decision=decide(a_policy(SUPPORT))) == f"{MATCHED} mid is first, then small."


def test_a_default_is_explained_by_having_no_conditions() -> None:
    assert explain(decision=decide(a_policy())) == (
        "Rule 'default' of policy auto v3 matched because it has no conditions. small is first."
    )


def test_what_was_left_out_is_named_with_its_reason() -> None:
    facts = some_facts(needs=frozenset({Capability.VISION}))

    assert explain(decision=decide(a_policy(a_default(a_route("small", "mid"))), facts=facts)) == (
        "Rule 'default' of policy auto v3 matched because it has no conditions. "
        "mid is first; small was left out: lacks vision."
    )


def test_a_long_list_is_cut() -> None:
    route = a_route("gone-1", "gone-2", "gone-3", "gone-4", "gone-5", "small")

    words = explain(decision=decide(a_policy(a_default(route))))

    assert words.endswith("gone-3 was left out: not in the catalogue; and 2 more.")


def test_a_caller_that_named_a_model_reads_so() -> None:
    decision = choose(document=direct_policy(model=MID), facts=some_facts(), situation=CALM, now=NOW, seed=0)

    assert explain(decision=decision) == "The caller named the model itself. mid is first."


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        (
            killing(tenants=frozenset({"acme"})),
            "No model was called, because a kill switch stops tenant acme.",
        ),
        (
            killing(rules=frozenset({("auto", "support"), ("auto", "default")})),
            "No model was called, because a kill switch stops rule support.",
        ),
        (
            killing(models=frozenset({"mid", "small"})),
            f"{MATCHED} No model was called, because a kill switch stops model mid, model small.",
        ),
        (
            replace(killing(models=frozenset({"small"})), budgets=(a_budget(),)),
            f"{MATCHED} No model was called, because the budget allows none: {CAPPED_AND_KILLED}.",
        ),
    ],
)
def test_a_refusal_is_explained_by_what_stood_in_the_way(situation: Situation, words: str) -> None:
    assert explain(decision=decide(a_policy(SUPPORT), situation=situation)) == words


def test_each_rule_has_its_line() -> None:
    document = a_policy(
        a_rule("code", TaskIs(tasks=("code",))),
        a_rule("off", TaskIs(tasks=("support",))),
        a_rule("both", TaskIs(tasks=("support",)), TenantIs(tenants=("acme",))),
    )

    trace = decide(document, situation=killing(rules=frozenset({("auto", "off")}))).trace

    assert [explain_rule(seen) for seen in trace] == [
        "code: passed over, task is code was expected, but task is support",
        "off: passed over, a kill switch stops this rule",
        "both: matched because task is support and tenant is acme",
    ]


@pytest.mark.parametrize("reason", DropReason)
def test_every_reason_to_leave_a_step_out_has_words(reason: Any) -> None:
    drop = DroppedCandidate(model="mid", reason=reason, detail="the {detail}")

    assert reason.value not in explain_drop(drop)
    assert explain_drop(drop)


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
CHECKED = StepDocument(
    model="small", validators=(NotRefused(), LogprobAtLeast(measure=LogprobMeasure.MEAN, at_least=0.5))
)
CHECKED_ONCE = StepDocument(model="mid", validators=(NotRefused(),))
KNOWS_LOGPROBS = replace(SMALL, capabilities=frozenset(CHAT_CAPABILITIES))
DEFAULT = "Rule 'default' of policy auto v3 matched because it has no conditions. "
UNTIL = NOW.replace(minute=5)


def plan_words(
    *models: str | StepDocument,
    situation: Situation = CALM,
    judges: dict[Any, Judge] | None = None,
    **route: Any,
) -> str:
    """What is said of the plan of a policy with one route."""
    compiled = compile_policy(
        document=a_policy(a_default(a_route(*models, **route))),
        version=3,
        catalogue=fleet_with(KNOWS_LOGPROBS),
        judges={("helpfulness", 2): JUDGE} if judges is None else judges,
    )
    decision = choose(document=compiled, facts=some_facts(), situation=situation, now=NOW, seed=1)
    return explain(decision=decision).removeprefix(DEFAULT)


def cascade(*models: str | StepDocument, **route: Any) -> str:
    return plan_words(*models, strategy=Strategy.CASCADE, **route)


def test_what_a_hang_up_does_is_explained_where_the_rule_says_so() -> None:
    assert plan_words("small", "mid", drain_ms=2_500) == (
        "small is first, then mid. If the client hangs up, the answer is read on for 2.5 s at most."
    )


def test_a_cascade_is_explained_by_its_checks() -> None:
    assert cascade(CHECKED, "mid", "frontier") == (
        "small is first, its answer must pass 2 checks, else mid, then frontier."
    )
    assert cascade(CHECKED, CHECKED_ONCE) == (
        "small is first, its answer must pass 2 checks, else mid (1 check). "
        "If none passes, the last answer is given, marked as not validated."
    )
    assert cascade(CHECKED_ONCE, when_none_passes=WhenNonePasses.FAIL) == (
        "mid is first, its answer must pass 1 check. If none passes, the request fails."
    )
    assert cascade("small", CHECKED_ONCE) == (
        "small is first, then mid. If none passes, the last answer is given, marked as not validated."
    )


@pytest.mark.parametrize(
    ("pick", "words"),
    [
        (Pick.FIRST_VALID, "the first answer is taken"),
        (Pick.HIGHEST_CONFIDENCE, "the most confident answer is taken"),
        (Pick.LONGEST_AGREEING, "the longest answer of those that agree is taken"),
        (Pick.WEIGHTED, "the answer of the greatest weight is taken"),
        (Pick.JUDGE, "judge helpfulness v2 picks"),
    ],
)
def test_a_race_is_explained_by_how_its_winner_is_picked(pick: Pick, words: str) -> None:
    judge = JudgeReference(name="helpfulness", version=2) if pick is Pick.JUDGE else None

    assert plan_words("frontier", "small", strategy=Strategy.PARALLEL, pick=pick, judge=judge) == (
        f"frontier and small are asked at once, {words}."
    )


def test_a_race_of_validated_answers_says_so() -> None:
    assert plan_words(CHECKED_ONCE, "small", strategy=Strategy.PARALLEL) == (
        "mid and small are asked at once, the first valid answer is taken."
    )


def test_a_race_says_who_is_asked_only_if_all_fail() -> None:
    spare = StepDocument(model="frontier")

    assert plan_words("small", "mid", spare, strategy=Strategy.PARALLEL, max_attempts=2) == (
        "small and mid are asked at once, the first answer is taken; frontier only if none of them answers."
    )


def test_a_judge_keeps_one_call_free() -> None:
    judge = JudgeReference(name="helpfulness", version=2)

    assert plan_words(
        "small", "mid", "frontier", strategy=Strategy.PARALLEL, pick=Pick.JUDGE, judge=judge
    ) == (
        "small and mid are asked at once, judge helpfulness v2 picks; frontier only if none of them answers."
    )


def test_a_judge_that_cannot_be_asked_is_named_with_what_happens_instead() -> None:
    judge = JudgeReference(name="helpfulness", version=2)

    words = plan_words("small", "mid", strategy=Strategy.PARALLEL, pick=Pick.JUDGE, judge=judge, judges={})

    assert words == (
        "small and mid are asked at once, judge helpfulness v2 cannot be asked, so the answer of the earliest step is "
        "taken; judge helpfulness v2 was left out: not in the catalogue."
    )


def test_a_hedge_is_explained_by_its_delay() -> None:
    query = LatencyQuery(model="small", measure=LatencyMeasure.FIRST_BYTE, percentile=95, window_s=900)
    learned = Situation(fleet=FleetState(latency={query: LatencyReading(value_ms=420, samples=100)}))

    assert plan_words("small", "mid", "frontier", strategy=Strategy.HEDGED, situation=learned) == (
        "small is first, hedged: mid is asked too if small is silent for 420 ms, then frontier."
    )
    assert plan_words("small", "mid", strategy=Strategy.HEDGED) == (
        "small is first, then mid, not hedged because the usual delay of small is not known yet."
    )


def faring(**states: HealthState) -> Situation:
    return Situation(
        fleet=FleetState(
            targets={name: TargetHealth(state=state, until=UNTIL) for name, state in states.items()}
        )
    )


def test_an_ejected_target_is_left_out_until_a_time() -> None:
    situation = faring(small=HealthState.OPEN, frontier=HealthState.COOLING)

    assert plan_words("small", "mid", "frontier", situation=situation) == (
        "mid is first; small was left out: failing until 12:05:00 UTC; "
        "frontier was left out: rate limited until 12:05:00 UTC."
    )


def test_the_least_bad_is_explained_as_such() -> None:
    situation = faring(small=HealthState.OPEN, mid=HealthState.OPEN)

    assert plan_words("small", "mid", situation=situation) == (
        "small is first; mid was left out: failing until 12:05:00 UTC. "
        "small is failing, and tried because no other model that fits fares better."
    )


def test_a_probe_is_explained_as_such() -> None:
    assert plan_words("small", "mid", situation=faring(small=HealthState.HALF_OPEN)) == (
        "small is first, then mid. small failed lately and is being tried again."
    )


def test_a_cold_start_is_told() -> None:
    cold = Situation(fleet=FleetState(cold_penalty_ms={"small": 4_000, "mid": 9}))

    assert plan_words("small", "mid", situation=cold) == (
        "small is first, then mid. small is cold, which takes about 4000 ms more."
    )


MOMENT = Situation(
    budgets=(a_budget(period_start=NOW.replace(day=1, hour=0), period_end=NOW.replace(day=2, hour=0)),),
    fleet=FleetState(
        targets={"mid": TargetHealth(state=HealthState.OPEN)},
        latency={
            LatencyQuery(
                model="small", measure=LatencyMeasure.TOTAL, percentile=50, window_s=300
            ): LatencyReading(value_ms=1_200, samples=99)
        },
        quality={("small", "support"): 0.81},
    ),
)


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            LatencyAbove(model="small", measure=LatencyMeasure.TOTAL, percentile=50, above_ms=1_000),
            "p50 of the total time of small over 300 s is above 1000 ms (it is 1200 ms)",
        ),
        (
            QualityAtLeast(model="small", score_min=0.8),
            "the eval score of small on the request's task is at least 0.8 (it is 0.81)",
        ),
        (HealthDegraded(models=("mid", "small")), "model one of mid, small is degraded (mid is degraded)"),
        (
            BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=80),
            "tenant budget is used to at least 80 % (budget month is used to 90 %)",
        ),
        (
            BudgetForecast(scope=BudgetScope.TENANT),
            (
                "tenant budget is on course to be used to at least 100 % by its period's end "
                "(budget month is on course for 180 %)"
            ),
        ),
        (
            WithinHours(weekdays=(Weekday.SUNDAY,), starts="09:00", ends="17:30", zone="UTC"),
            "it is 09:00 to 17:30 in UTC, sunday (it is 12:00 on sunday)",
        ),
    ],
)
def test_what_held_of_the_moment_is_told_with_its_figure(condition: Condition, words: str) -> None:
    trace = decide(a_policy(a_rule("now", condition)), situation=MOMENT).trace

    assert explain_rule(trace[0]) == f"now: matched because {words}"


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            LatencyAbove(model="mid", measure=LatencyMeasure.FIRST_BYTE, percentile=99, above_ms=9),
            "p99 of the first byte of mid over 300 s is above 9 ms was expected, but there are fewer than 20 calls to go by",
        ),
        (
            QualityAtLeast(model="mid", task="code", score_min=0.5),
            "the eval score of mid on task code is at least 0.5 was expected, but there is no such score",
        ),
        (
            HealthDegraded(models=("small",), providers=("other",)),
            "model small or provider other is degraded was expected, but all of them are well",
        ),
        (
            BudgetForecast(scope=BudgetScope.END_USER),
            (
                "end user budget is on course to be used to at least 100 % by its period's end was expected, "
                "but no end user budget applies"
            ),
        ),
        (
            WithinHours(weekdays=tuple(Weekday), starts="22:00", ends="06:00", zone="Europe/Berlin"),
            "it is 22:00 to 06:00 in Europe/Berlin, every day was expected, but it is 13:00 on sunday",
        ),
        (
            ShareOf(name="canary", percent=0.1),
            "the request is in the 0.1 % share canary, by end user was expected, but it was drawn at 70.1 %",
        ),
    ],
)
def test_what_did_not_hold_is_told_with_what_was_met(condition: Condition, words: str) -> None:
    trace = decide(a_policy(a_rule("now", condition)), situation=MOMENT).trace

    assert explain_rule(trace[0]) == f"now: passed over, {words}"
