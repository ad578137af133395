from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies_app.routing.codes import (
    BudgetScope,
    Capability,
    FindingCode,
    LatencyMeasure,
    LogprobMeasure,
    Pick,
    Severity,
    StickyBy,
    Strategy,
    Weekday,
)
from policies_app.routing.conditions import (
    BudgetUsed,
    EndUserIs,
    HealthDegraded,
    InputTokensBetween,
    LatencyAbove,
    NeedsAll,
    OutputTokensBetween,
    QualityAtLeast,
    ShareOf,
    TagsMatch,
    TaskIs,
    TenantIs,
    WithinHours,
)
from policies_app.routing.document import PolicyDocument, StepDocument
from policies_app.routing.findings import Finding
from policies_app.routing.types import Catalogue, Judges
from policies_app.routing.validators import (
    JudgedAtLeast,
    JudgeReference,
    LogprobAtLeast,
    NotRefused,
    SamplesAgree,
    Validator,
)
from policies_app.routing.verify import verify
from tests.policies_app.routing.builders import (
    FLEET,
    FRONTIER,
    MID,
    NOW,
    SMALL,
    a_default,
    a_judge,
    a_policy,
    a_price,
    a_route,
    a_rule,
    fleet_with,
)

SUPPORT = TaskIs(tasks=("support",))


JUDGE = a_judge(timeout_ms=900)
JUDGES = {(JUDGE.name, JUDGE.version): JUDGE}
JUDGED = JudgedAtLeast(judge=JUDGE.reference, at_least=0.5)
SURE = LogprobAtLeast(measure=LogprobMeasure.MEAN, at_least=0.5)
TRIO = SamplesAgree(samples=3, at_least=2)


def found(
    document: PolicyDocument, catalogue: Catalogue = FLEET, judges: Judges = JUDGES
) -> list[tuple[str, str, str | None]]:
    findings = verify(document=document, catalogue=catalogue, judges=judges, now=NOW)
    return [(finding.severity.value, finding.code.value, finding.rule) for finding in findings]


def test_a_sound_policy_has_no_findings() -> None:
    document = a_policy(
        a_rule("support", SUPPORT, route=a_route("small")),
        a_rule("long", InputTokensBetween(minimum=5000), route=a_route("mid", "small")),
        baseline_model="frontier",
    )

    assert found(document) == []


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        (PolicyDocument(name="p", rules=(a_rule("r", SUPPORT),)), ("no_default", None)),
        (PolicyDocument(name="p", rules=()), ("no_default", None)),
        (a_policy(replace(a_default(), conditions=(SUPPORT,))), ("conditional_default", "default")),
        (a_policy(a_rule("twin", SUPPORT), a_rule("twin", TaskIs(tasks=("code",)))), ("duplicate_rule", "twin")),
        (a_policy(baseline_model="gone"), ("unknown_baseline", None)),
        (a_policy(a_default(replace(a_route(), steps=()))), ("no_steps", "default")),
        (a_policy(a_default(replace(a_route(), steps=(), strategy=Strategy.SINGLE))), ("no_steps", "default")),
        (a_policy(a_default(a_route("small", "mid", strategy=Strategy.SINGLE))), ("several_steps", "default")),
        (a_policy(a_default(a_route("small", "gone"))), ("unknown_model", "default")),
        (a_policy(a_default(a_route("small", "mid", allow_dearer_fallback=False))), ("dearer_fallback", "default")),
        (
            a_policy(a_rule("see", NeedsAll(capabilities=(Capability.VISION,)), route=a_route("small"))),
            ("capability_gap", "see"),
        ),
    ],
)  # fmt: skip
def test_an_error_is_found(document: PolicyDocument, finding: tuple[str, str | None]) -> None:
    assert found(document) == [("error", *finding)]


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        (a_policy(a_default(a_route("small", "mid", "small"))), ("duplicate_step", "default")),
        (a_policy(a_default(a_route("small", "mid", max_attempts=1))), ("unreachable_step", "default")),
        (
            a_policy(a_rule("see", NeedsAll(capabilities=(Capability.VISION,)), route=a_route("mid", "small"))),
            ("capability_gap", "see"),
        ),
        (
            a_policy(a_rule("no", InputTokensBetween(maximum=9), InputTokensBetween(minimum=10))),
            ("contradiction", "no"),
        ),
        (a_policy(a_rule("no", SUPPORT, TaskIs(tasks=("code",)))), ("contradiction", "no")),
        (
            a_policy(a_rule("no", TagsMatch(tags={"a": ("1",)}), TagsMatch(tags={"a": ("2",), "b": ("1",)}))),
            ("contradiction", "no"),
        ),
        (a_policy(a_rule("all")), ("after_unconditional", "default")),
        (a_policy(a_rule("one", SUPPORT), a_rule("two", SUPPORT)), ("dead_rule", "two")),
    ],
)  # fmt: skip
def test_a_warning_is_found(document: PolicyDocument, finding: tuple[str, str | None]) -> None:
    assert found(document) == [("warning", *finding)]


def test_a_default_before_the_end_is_an_error_and_shadows_the_rest() -> None:
    document = PolicyDocument(name="p", rules=(a_default(), a_rule("late", SUPPORT)))

    assert found(document) == [
        ("error", "default_not_last", "default"),
        ("warning", "after_unconditional", "late"),
    ]


@pytest.mark.parametrize(
    ("small", "finding"),
    [
        (replace(SMALL, enabled=False), ("warning", "disabled_model", "default")),
        (replace(SMALL, prices=()), ("error", "no_price", "default")),
        (
            replace(SMALL, prices=(a_price(effective_from=NOW + timedelta(seconds=1)),)),
            ("error", "no_price", "default"),
        ),
    ],
)
def test_the_catalogue_of_the_moment_counts(small: Any, finding: tuple[str, str, str]) -> None:
    assert found(a_policy(), fleet_with(small)) == [finding]


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (TaskIs(tasks=("a", "b")), TaskIs(tasks=("a",))),
        (TagsMatch(tags={"plan": ("pro", "team")}), TagsMatch(tags={"plan": ("pro",), "area": ("eu",)})),
        (InputTokensBetween(minimum=1), InputTokensBetween(minimum=1, maximum=2)),
        (OutputTokensBetween(maximum=9), OutputTokensBetween(maximum=8)),
        (
            NeedsAll(capabilities=(Capability.TOOLS,)),
            NeedsAll(capabilities=(Capability.TOOLS, Capability.LOGPROBS)),
        ),
        (
            BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=50),
            BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=80),
        ),
    ],
)
def test_a_rule_behind_a_wider_one_is_dead_and_before_it_is_not(wide: Any, narrow: Any) -> None:
    route = a_route("frontier")
    wide_rule = a_rule("wide", wide, route=route)
    narrow_rule = a_rule(
        "narrow", narrow, TenantIs(tenants=("acme",)), EndUserIs(end_users=("ann",)), route=route
    )

    assert ("warning", "dead_rule", "narrow") in found(a_policy(wide_rule, narrow_rule))
    assert found(a_policy(narrow_rule, wide_rule)) == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (TaskIs(tasks=("a",)), TaskIs(tasks=("a", "b"))),
        (TaskIs(tasks=("a",)), TenantIs(tenants=("a",))),  # equal values of another fact
        (InputTokensBetween(minimum=1), OutputTokensBetween(minimum=1)),
        (TagsMatch(tags={"plan": ("pro",)}), TagsMatch(tags={"area": ("pro",)})),
        (TagsMatch(tags={"plan": ("pro",)}), TagsMatch(tags={"plan": ("pro", "team")})),
        (
            BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=50),
            BudgetUsed(scope=BudgetScope.POLICY, used_pct_min=80),
        ),
    ],
)
def test_a_rule_that_can_still_match_is_not_called_dead(first: Any, second: Any) -> None:
    assert found(a_policy(a_rule("first", first), a_rule("second", second))) == []


def test_a_fallback_dearer_in_output_alone_needs_leave() -> None:
    tricky = replace(MID, prices=(a_price(1, output_nanos=SMALL.prices[0].output_nanos + 1),))

    without_leave = a_policy(a_default(a_route("small", "mid", allow_dearer_fallback=False)))

    assert found(without_leave, fleet_with(tricky)) == [("error", "dearer_fallback", "default")]
    assert found(a_policy(a_default(a_route("small", "mid"))), fleet_with(tricky)) == []


def test_a_cheaper_fallback_needs_no_leave() -> None:
    document = a_policy(a_default(a_route("frontier", "mid", "small", allow_dearer_fallback=False)))

    assert found(document) == []


def test_errors_come_before_warnings_and_say_what_to_do_in_words() -> None:
    document = a_policy(
        a_rule("one", SUPPORT),
        a_rule("two", SUPPORT, route=a_route("gone")),
    )

    assert verify(document=document, catalogue=FLEET, now=NOW) == (
        Finding(
            severity=Severity.ERROR,
            code=FindingCode.UNKNOWN_MODEL,
            rule="two",
            message="Rule “two” names “gone”, which is not in the catalogue.",
        ),
        Finding(
            severity=Severity.WARNING,
            code=FindingCode.DEAD_RULE,
            rule="two",
            message="Rule “two” is never reached: rule “one” matches all that it could.",
        ),
    )


def step(model: str, *validators: Validator, **fields: Any) -> StepDocument:
    return StepDocument(model=model, validators=validators, **fields)


def a_cascade(*steps: str | StepDocument, **fields: Any) -> PolicyDocument:
    return a_policy(a_default(a_route(*steps, strategy=Strategy.CASCADE, **fields)))


def a_race(*steps: str | StepDocument, **fields: Any) -> PolicyDocument:
    return a_policy(a_default(a_route(*steps, strategy=Strategy.PARALLEL, **fields)))


def a_hedge(*steps: str | StepDocument, **fields: Any) -> PolicyDocument:
    return a_policy(a_default(a_route(*steps, strategy=Strategy.HEDGED, **fields)))


BY_JUDGE = {"pick": Pick.JUDGE, "judge": JUDGE.reference}


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(a_cascade(step("small", NotRefused()), "mid", allow_dearer_fallback=False), id="cascade"),
        pytest.param(a_cascade(step("frontier", SURE), "mid"), id="cascade by logprobs"),
        pytest.param(a_cascade(step("small", JUDGED), "mid"), id="judged cascade"),
        pytest.param(a_race("small", "mid", allow_dearer_fallback=False, **BY_JUDGE), id="parallel by judge"),
        pytest.param(a_hedge("mid", "small", hedge_delay_ms=400), id="hedged"),
    ],
)  # fmt: skip
def test_every_strategy_can_be_sound(document: PolicyDocument) -> None:
    assert found(document) == []


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        pytest.param(a_policy(name="direct"), ("reserved_name", None), id="name of a model's callers"),
        pytest.param(a_race("small"), ("too_few_steps", "default"), id="race of one"),
        pytest.param(a_hedge("small"), ("too_few_steps", "default"), id="hedge of one"),
        pytest.param(a_race("small", "mid", pick=Pick.JUDGE), ("no_judge", "default"), id="no judge"),
        pytest.param(
            a_race("small", "mid", pick=Pick.JUDGE, judge=JudgeReference(name="helpfulness", version=9)),
            ("unknown_judge", "default"),
            id="no such version",
        ),
        pytest.param(
            a_cascade(
                step("small", JudgedAtLeast(judge=JudgeReference(name="gone", version=1), at_least=1)), "mid"
            ),
            ("unknown_judge", "default"),
            id="no such judge",
        ),
        pytest.param(a_cascade(step("small", SURE)), ("capability_gap", "default"), id="no logprobs at all"),
        pytest.param(
            a_hedge("small", "mid", allow_dearer_fallback=False), ("dearer_fallback", "default"), id="dearer hedge"
        ),
        pytest.param(
            a_policy(a_rule("slow", LatencyAbove(model="gone", measure=LatencyMeasure.FIRST_BYTE, percentile=95, above_ms=9))),
            ("unknown_model", "slow"),
            id="latency of an unknown model",
        ),
        pytest.param(
            a_policy(a_rule("good", QualityAtLeast(model="gone", score_min=0.5))),
            ("unknown_model", "good"),
            id="quality of an unknown model",
        ),
        pytest.param(
            a_policy(a_rule("ill", HealthDegraded(models=("gone", "small")))),
            ("unknown_model", "ill"),
            id="health of an unknown model",
        ),
    ],
)  # fmt: skip
def test_an_error_in_what_strategies_and_conditions_need_is_found(
    document: PolicyDocument, finding: tuple[str, str | None]
) -> None:
    assert found(document) == [("error", *finding)]


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        pytest.param(a_cascade("small", step("mid", NotRefused())), ("unchecked_step", "default"), id="unchecked"),
        pytest.param(
            a_policy(a_default(a_route(step("small", NotRefused())))), ("ignored_validators", "default"), id="ignored"
        ),
        pytest.param(
            a_cascade(step("frontier", SURE), step("small", SURE)), ("capability_gap", "default"), id="no logprobs here"
        ),
        pytest.param(
            a_race("frontier", "small", pick=Pick.HIGHEST_CONFIDENCE), ("capability_gap", "default"), id="no confidence"
        ),
        pytest.param(a_cascade(step("small", TRIO), "mid"), ("too_few_attempts", "default"), id="samples"),
        pytest.param(a_cascade(step("small", JUDGED), step("mid", JUDGED)), ("too_few_attempts", "default"), id="judges"),
        pytest.param(a_race("small", "mid", max_attempts=2, **BY_JUDGE), ("too_few_attempts", "default"), id="pick"),
        pytest.param(a_race("small", "mid", "frontier", max_attempts=2), ("unreachable_step", "default"), id="racers"),
        pytest.param(a_race("small", "mid", patience_ms=60_000), ("past_deadline", "default"), id="patience"),
        pytest.param(a_hedge("small", "mid", hedge_delay_ms=60_000), ("past_deadline", "default"), id="hedge"),
        pytest.param(a_policy(a_default(a_route("small", drain_ms=60_000))), ("past_deadline", "default"), id="drain"),
        pytest.param(
            a_policy(a_default(a_route(step("small", timeout_ms=60_000)))), ("past_deadline", "default"), id="step"
        ),
        pytest.param(
            a_race("small", "mid", deadline_ms=JUDGE.timeout_ms, **BY_JUDGE), ("past_deadline", "default"), id="judge"
        ),
        pytest.param(a_race("small", "frontier", **BY_JUDGE), ("own_judge", "default"), id="a racer judges"),
        pytest.param(a_cascade(step("frontier", JUDGED), "mid"), ("own_judge", "default"), id="a step rates itself"),
        pytest.param(
            a_policy(a_rule("ill", HealthDegraded(providers=("gone", "sandbox")))),
            ("unknown_provider", "ill"),
            id="unknown provider",
        ),
    ],
)  # fmt: skip
def test_a_warning_of_what_strategies_do_is_found(
    document: PolicyDocument, finding: tuple[str, str | None]
) -> None:
    assert found(document) == [("warning", *finding)]


def test_models_after_the_third_do_not_race() -> None:
    spare = replace(SMALL, name="spare")

    document = a_race("small", "mid", "frontier", "spare", max_attempts=4)

    assert found(document, fleet_with(spare)) == [("warning", "late_step", "default")]


def test_a_fallback_of_a_race_may_be_as_dear_as_the_dearest_racer() -> None:
    route = {"allow_dearer_fallback": False, "max_attempts": 4}
    spare = replace(SMALL, name="spare")
    cheap, dear = (
        replace(SMALL, name="last", prices=(price,))
        for price in (a_price(5), a_price(5, output_nanos=10**11))
    )
    document = a_race("small", "mid", "spare", "last", **route)
    racing_dear = replace(MID, prices=FRONTIER.prices)

    for last, codes in ((cheap, {"late_step"}), (dear, {"late_step", "dearer_fallback"})):
        fleet = {**FLEET, "mid": racing_dear, "spare": spare, "last": last}
        assert {code for _, code, _ in found(document, fleet)} == codes


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"prices": ()}, ("error", "no_price", "default")),
        ({"enabled": False}, ("warning", "disabled_model", "default")),
    ],
)
def test_a_judge_whose_model_cannot_be_called_is_found(
    changes: dict[str, Any], finding: tuple[str, str, str]
) -> None:
    assert found(a_race("small", "mid", **BY_JUDGE), fleet_with(replace(FRONTIER, **changes))) == [finding]


def test_a_judge_whose_model_is_not_in_the_catalogue_is_found() -> None:
    fleet = {"small": SMALL, "mid": MID}

    assert found(a_race("small", "mid", **BY_JUDGE), fleet) == [("error", "unknown_model", "default")]


def test_a_model_that_cannot_stream_leaves_a_gap_for_streamed_requests() -> None:
    silent = replace(MID, capabilities=frozenset())

    assert found(a_policy(a_default(a_route("small", "mid"))), fleet_with(silent)) == [
        ("warning", "capability_gap", "default")
    ]


def test_a_bound_on_money_that_no_full_answer_fits_is_found() -> None:
    full_answer = 1_000 * 4_000
    low, enough = (
        a_policy(a_default(a_route("small", max_cost_nanos=nanos)))
        for nanos in (full_answer - 1, full_answer)
    )
    limited = StepDocument(model="small", max_output_tokens=999)

    assert found(low) == [("warning", "cost_bound_too_low", "default")]
    assert found(enough) == []
    assert found(a_policy(a_default(a_route(limited, max_cost_nanos=full_answer - 1)))) == []


def a_share(percent: float, **fields: Any) -> ShareOf:
    return ShareOf(name="canary", percent=percent, **fields)


def test_a_smaller_share_behind_a_larger_one_of_the_same_name_is_dead_and_before_it_is_not() -> None:
    small, large = a_rule("small", a_share(10)), a_rule("large", a_share(50))
    by_tenant = a_rule("by tenant", a_share(10, sticky_by=StickyBy.TENANT))

    assert found(a_policy(large, small)) == [("warning", "dead_rule", "small")]
    assert found(a_policy(small, large)) == []
    assert found(a_policy(large, by_tenant)) == []


def test_shares_of_one_name_that_are_meant_to_add_up_are_found() -> None:
    some, rest = a_rule("some", a_share(20)), a_rule("rest", a_share(80.1))
    other = a_rule("other", ShareOf(name="other", percent=80.1))

    assert found(a_policy(some, rest)) == [("warning", "overlapping_shares", None)]
    assert found(a_policy(some, other)) == []


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        ({"starts": "12:00", "ends": "18:00"}, ["contradiction"]),
        ({"weekdays": (Weekday.SUNDAY,)}, ["contradiction"]),
        ({"starts": "11:59", "ends": "18:00"}, []),
        ({"starts": "12:00", "ends": "18:00", "zone": "Asia/Kolkata"}, []),
    ],
)
def test_hours_that_never_meet_contradict_each_other(changes: dict[str, Any], codes: list[str]) -> None:
    morning = WithinHours(weekdays=(Weekday.MONDAY,), starts="08:00", ends="12:00", zone="UTC")

    document = a_policy(a_rule("hours", morning, replace(morning, **changes)))

    assert [code for _, code, _ in found(document)] == codes


def test_what_is_found_is_said_in_words() -> None:
    document = a_race("small", "frontier", max_attempts=2, **BY_JUDGE)

    assert [
        finding.message for finding in verify(document=document, catalogue=FLEET, judges=JUDGES, now=NOW)
    ] == [
        (
            "Rule “default” takes 3 upstream calls if it comes to all of its steps, samples and judges, and at most 2 are "
            "made: some would not be asked."
        ),
        "“frontier” would rate its own answers in rule “default”: judge helpfulness v2 asks it too.",
    ]
