from dataclasses import replace
from typing import Any

import pytest

from policies_app.routing.choose import choose
from policies_app.routing.codes import Capability, DropReason
from policies_app.routing.compilation import direct_policy
from policies_app.routing.conditions import TaskIs, TenantIs
from policies_app.routing.explain import explain, explain_drop, explain_rule
from policies_app.routing.types import DroppedCandidate, Situation
from tests.policies_app.routing.builders import (
    CALM,
    MID,
    NOW,
    a_budget,
    a_default,
    a_policy,
    a_route,
    a_rule,
    decide,
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
            "No model was called, because none was available: no rule of policy auto matched.",
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
