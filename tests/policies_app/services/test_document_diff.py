from dataclasses import replace

import pytest
from hypothesis import given, settings

from policies_app.routing.codes import LogprobMeasure, Pick, Strategy, WhenNonePasses
from policies_app.routing.conditions import TaskIs
from policies_app.routing.document import PolicyDocument, RouteDocument, RuleDocument, StepDocument
from policies_app.routing.validators import JudgeReference, LogprobAtLeast, NotRefused
from policies_app.services.document_diff import ChangeKind, diff_documents
from tests.policies_app.routing.strategies import documents


def route(*models: str, **fields: object) -> RouteDocument:
    steps = tuple(StepDocument(model=model) for model in models)
    return RouteDocument(**{"strategy": Strategy.FAILOVER, "steps": steps} | fields)


CODE = RuleDocument(name="code", conditions=(TaskIs(tasks=("code",)),), route=route("frontier", "mid"))
DEFAULT = RuleDocument(name="default", is_default=True, route=route("small"))
DOCUMENT = PolicyDocument(name="auto", baseline_model="frontier", rules=(CODE, DEFAULT))


def changes(new: PolicyDocument, old: PolicyDocument | None = DOCUMENT) -> list[str]:
    return [str(change) for change in diff_documents(old, new)]


def test_equal_documents_have_no_difference():
    assert changes(DOCUMENT) == []


def test_a_first_version_adds_everything():
    assert changes(DOCUMENT, old=None) == [
        "Savings are measured against frontier, no longer nothing.",
        "Rule code: added: when task is code, failover over frontier, then mid.",
        "Rule default: added: when no other rule matches, failover over small.",
    ]


def test_a_removed_rule_says_what_it_was():
    (change,) = diff_documents(DOCUMENT, replace(DOCUMENT, rules=(DEFAULT,)))

    assert change.kind is ChangeKind.REMOVED
    assert change.rule == "code"
    assert "failover over frontier, then mid" in change.text


def test_another_order_of_models_is_named():
    new = replace(DOCUMENT, rules=(replace(CODE, route=route("mid", "frontier")), DEFAULT))

    assert changes(new) == [
        "Rule code: failover over mid, then frontier; was failover over frontier, then mid."
    ]


def test_each_limit_of_a_route_has_its_own_line():
    changed = route("frontier", "mid", deadline_ms=1_500, max_attempts=1, allow_dearer_fallback=True)

    assert changes(replace(DOCUMENT, rules=(replace(CODE, route=changed), DEFAULT))) == [
        "Rule code: deadline 1.5 s; was 60 s.",
        "Rule code: at most 1 upstream calls; was 3.",
        "Rule code: may fall back to a dearer model.",
    ]


def test_the_limits_of_a_step_are_named():
    limited = StepDocument(model="small", timeout_ms=500, max_output_tokens=64)
    new = replace(DOCUMENT, rules=(CODE, replace(DEFAULT, route=replace(route(), steps=(limited,)))))

    assert changes(new) == [
        "Rule default: failover over small (0.5 s at most, 64 output tokens at most); was failover over small."
    ]


def test_another_condition_and_another_order_of_rules_are_named():
    math = RuleDocument(name="math", conditions=(TaskIs(tasks=("math",)),), route=route("mid"))
    old = replace(DOCUMENT, rules=(CODE, math, DEFAULT))
    wider = replace(CODE, conditions=(TaskIs(tasks=("code", "review")),))

    assert changes(replace(DOCUMENT, rules=(math, wider, DEFAULT)), old=old) == [
        "Rule code: taken when task is one of code, review; was when task is code.",
        "Rules are tried in the order math, code, default; was code, math, default.",
    ]


def test_another_baseline_is_named():
    assert changes(replace(DOCUMENT, baseline_model=None)) == [
        "Savings are measured against nothing, no longer frontier."
    ]


SURE = LogprobAtLeast(measure=LogprobMeasure.MEAN, at_least=0.8)
CHECKED = (StepDocument(model="small", validators=(SURE, NotRefused())), StepDocument(model="mid", weight=3))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            route(strategy=Strategy.CASCADE, steps=CHECKED),
            (
                "cascade over small (confidence by token probability (mean) is at least 0.8, the answer is no refusal), "
                "then mid; if none passes, the last answer is given"
            ),
        ),
        (
            route(strategy=Strategy.PARALLEL, steps=CHECKED[1:], pick=Pick.WEIGHTED, patience_ms=500),
            "mid (weight 3) at once; the answer of the greatest weight is given, the others are waited for 0.5 s",
        ),
        (
            route(
                "small",
                "mid",
                strategy=Strategy.PARALLEL,
                pick=Pick.JUDGE,
                judge=JudgeReference(name="kind", version=2),
            ),
            "small, mid at once; judge kind v2 picks",
        ),
        (
            route(strategy=Strategy.PARALLEL, steps=CHECKED[:1], when_none_passes=WhenNonePasses.FAIL),
            (
                "small (confidence by token probability (mean) is at least 0.8, the answer is no refusal) at once; "
                "the first valid answer is given; if none passes, it fails"
            ),
        ),
        (
            route("small", "mid", strategy=Strategy.HEDGED, hedge_delay_ms=400),
            "hedged over small, then mid; the second is asked after the first one's learned p95, 0.4 s at least",
        ),
    ],
    ids=lambda value: value.strategy if isinstance(value, RouteDocument) else "",
)
def test_every_strategy_is_told_with_what_it_goes_by(changed, words):
    (change,) = changes(replace(DOCUMENT, rules=(replace(CODE, route=changed), DEFAULT)))

    assert change == f"Rule code: {words}; was failover over frontier, then mid."


def test_the_bound_on_money_and_the_leaves_are_named():
    changed = route("frontier", "mid", max_cost_nanos=50_000_000, continue_broken_streams=True)

    assert changes(replace(DOCUMENT, rules=(replace(CODE, route=changed), DEFAULT))) == [
        "Rule code: may cost 0.05 USD at most; was as much as its budgets allow.",
        "Rule code: now has the next step carry on a stream that broke off.",
    ]


def test_what_becomes_of_an_answer_whose_client_hangs_up_is_named():
    drained = replace(CODE, route=route("frontier", "mid", drain_ms=30_000))

    assert changes(replace(DOCUMENT, rules=(drained, DEFAULT))) == [
        "Rule code: read on for 30 s at most when its client hangs up; was cut at once."
    ]


def test_a_change_that_words_leave_out_is_no_secret():
    many = tuple(f"task-{number}" for number in range(7))
    old = replace(DOCUMENT, rules=(replace(CODE, conditions=(TaskIs(tasks=many),)), DEFAULT))
    new = replace(DOCUMENT, rules=(replace(CODE, conditions=(TaskIs(tasks=(*many[:6], "task-9")),)), DEFAULT))

    assert changes(new, old=old) == [
        "Rule code: changed in details that are not told here; the document has them."
    ]


@settings(max_examples=60, deadline=None)
@given(old=documents(), new=documents())
def test_documents_that_differ_always_have_a_difference_in_words(old, new):
    assert bool(diff_documents(old, new)) is (old != new)
