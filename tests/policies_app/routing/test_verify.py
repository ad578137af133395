from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from policies_app.routing.codes import BudgetScope, Capability, FindingCode, Severity, Strategy
from policies_app.routing.conditions import (
    BudgetUsed,
    EndUserIs,
    InputTokensBetween,
    NeedsAll,
    OutputTokensBetween,
    TagsMatch,
    TaskIs,
    TenantIs,
)
from policies_app.routing.document import PolicyDocument, RuleDocument, StepDocument
from policies_app.routing.findings import Finding
from policies_app.routing.types import Catalogue
from policies_app.routing.verify import verify
from policies_app.routing.worst_case import worst_case
from tests.policies_app.routing.builders import (
    FLEET,
    MID,
    NOW,
    SMALL,
    a_default,
    a_policy,
    a_price,
    a_route,
    a_rule,
    fleet_with,
)

SUPPORT = TaskIs(tasks=("support",))


def found(document: PolicyDocument, catalogue: Catalogue = FLEET) -> list[tuple[str, str, str | None]]:
    findings = verify(document=document, catalogue=catalogue, now=NOW)
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


def cost_of(rule: RuleDocument, catalogue: Catalogue = FLEET) -> int:
    return worst_case(rule=rule, catalogue=catalogue, now=NOW).cost_nanos


def test_the_worst_case_fills_the_context_of_the_dearest_model_at_every_attempt() -> None:
    rule = a_default(a_route("small", "mid", deadline_ms=900, max_attempts=2))

    worst = worst_case(rule=rule, catalogue=FLEET, now=NOW)

    # mid: 9000 tokens at the cache-write price of 2.5 USD, 1000 of output at 8 USD per million.
    assert (worst.rule, worst.attempts, worst.duration_ms) == ("default", 2, 900)
    assert worst.cost_nanos == 2 * (9_000 * 2_500 + 1_000 * 8_000)


def test_the_worst_case_heeds_the_steps_own_output_limit() -> None:
    limited = a_default(a_route(StepDocument(model="mid", max_output_tokens=10), max_attempts=1))

    assert cost_of(limited) == 9_990 * 2_500 + 10 * 8_000


def test_the_worst_case_of_a_model_with_cheaper_output_is_all_input() -> None:
    inverted = replace(SMALL, prices=(a_price(1, output_nanos=0, reasoning_nanos=0),))

    assert cost_of(a_default(a_route(max_attempts=1)), fleet_with(inverted)) == 10_000 * 1_250


def test_a_route_that_can_call_nothing_costs_nothing() -> None:
    unpriced = fleet_with(replace(SMALL, prices=()))
    empty = worst_case(rule=a_default(replace(a_route(), steps=())), catalogue=FLEET, now=NOW)

    assert cost_of(a_default(a_route("gone", "small")), unpriced) == 0
    assert (empty.attempts, empty.cost_nanos) == (0, 0)
