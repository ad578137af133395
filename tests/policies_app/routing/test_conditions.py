from typing import Any

import pytest

from policies_app.routing.codes import BudgetAction, BudgetScope, Capability
from policies_app.routing.conditions import (
    ApiKeyIs,
    BudgetUsed,
    Condition,
    EndUserIs,
    InputTokensBetween,
    NeedsAll,
    OutputTokensBetween,
    TagsMatch,
    TaskIs,
    TenantIs,
)
from policies_app.routing.operands import OperandError
from policies_app.routing.types import Situation
from tests.policies_app.routing.builders import CALM, NOW, a_budget, some_facts

SUPPORT_OR_CHAT = TaskIs(tasks=("chat", "support"))
PRO_IN_EUROPE = TagsMatch(tags={"plan": ("pro", "team"), "area": ("eu",)})
TEN_TO_TWENTY = InputTokensBetween(minimum=10, maximum=20)
ASKED_AT_LEAST_TEN = OutputTokensBetween(minimum=10)
SEES_AND_STREAMS = NeedsAll(capabilities=(Capability.VISION, Capability.STREAMING))


@pytest.mark.parametrize(
    ("condition", "facts", "holds"),
    [
        (SUPPORT_OR_CHAT, {"task": "chat"}, True),
        (SUPPORT_OR_CHAT, {"task": "code"}, False),
        (SUPPORT_OR_CHAT, {"task": None}, False),
        (TenantIs(tenants=("acme",)), {"tenant": "acme"}, True),
        (TenantIs(tenants=("acme",)), {"tenant": "acm"}, False),
        (ApiKeyIs(api_keys=("pk_1",)), {"api_key": "pk_1"}, True),
        (ApiKeyIs(api_keys=("pk_1",)), {"api_key": "pk_2"}, False),
        (EndUserIs(end_users=("ann",)), {"end_user": "ann"}, True),
        (EndUserIs(end_users=("ann",)), {"end_user": None}, False),
        (PRO_IN_EUROPE, {"tags": {"plan": "team", "area": "eu", "more": "x"}}, True),
        (PRO_IN_EUROPE, {"tags": {"plan": "team"}}, False),
        (PRO_IN_EUROPE, {"tags": {"plan": "free", "area": "eu"}}, False),
        (PRO_IN_EUROPE, {"tags": {}}, False),
        (TEN_TO_TWENTY, {"input_tokens": 9}, False),
        (TEN_TO_TWENTY, {"input_tokens": 10}, True),
        (TEN_TO_TWENTY, {"input_tokens": 20}, True),
        (TEN_TO_TWENTY, {"input_tokens": 21}, False),
        (InputTokensBetween(minimum=5), {"input_tokens": 10**12}, True),
        (InputTokensBetween(maximum=5), {"input_tokens": 0}, True),
        (ASKED_AT_LEAST_TEN, {"output_tokens": 10}, True),
        (ASKED_AT_LEAST_TEN, {"output_tokens": 9}, False),
        (OutputTokensBetween(minimum=0), {"output_tokens": None}, False),  # no limit set is in no range
        (SEES_AND_STREAMS, {"needs": frozenset(Capability)}, True),
        (SEES_AND_STREAMS, {"needs": frozenset({Capability.VISION})}, False),
    ],
)
def test_a_condition_holds_for_its_facts_only(
    condition: Condition, facts: dict[str, Any], holds: bool
) -> None:
    assert condition.holds(some_facts(**facts), CALM, NOW) is holds


@pytest.mark.parametrize(
    ("budgets", "holds"),
    [
        ((), False),
        ((a_budget(used_nanos=79),), False),
        ((a_budget(used_nanos=80),), True),
        ((a_budget(used_nanos=95, scope=BudgetScope.END_USER),), False),  # another scope's
        ((a_budget(used_nanos=10), a_budget(used_nanos=95)), True),  # any one of the scope
        ((a_budget(used_nanos=0, limit_nanos=0),), True),  # a budget of nothing is used up
        ((a_budget(used_nanos=95, action=BudgetAction.ALERT),), True),  # a soft one counts as well
    ],
)
def test_a_budget_condition_looks_at_every_budget_of_its_scope(budgets: Any, holds: bool) -> None:
    condition = BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=80)

    assert condition.holds(some_facts(), Situation(budgets=budgets), NOW) is holds


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: TaskIs(tasks=()), "tasks: give at least one value"),
        (lambda: TaskIs(tasks="support"), "tasks: must be a list"),
        (lambda: TaskIs(tasks=("",)), "tasks: must be a text"),
        (lambda: TenantIs(tenants=("x" * 301,)), "tenants: must be a text"),
        (lambda: ApiKeyIs(api_keys=("a\0",)), "api_keys: must not contain NUL"),
        (lambda: TagsMatch(tags={}), "tags: give at least one value"),
        (lambda: TagsMatch(tags={"plan": ()}), r"tags\.plan: give at least one value"),
        (InputTokensBetween, "minimum: give a minimum, a maximum or both"),
        (lambda: InputTokensBetween(minimum=2, maximum=1), "minimum: 2 exceeds the maximum of 1"),
        (lambda: OutputTokensBetween(maximum=-1), "maximum: must be an integer from 0"),
        (lambda: OutputTokensBetween(maximum=2.5), "maximum: must be an integer from 0"),
        (lambda: NeedsAll(capabilities=()), "capabilities: give at least one"),
        (lambda: BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=0), "used_pct_min: must be an integer from 1"),
    ],
)  # fmt: skip
def test_a_bad_operand_fails_when_the_condition_is_built(build: Any, complaint: str) -> None:
    with pytest.raises(OperandError, match=complaint):
        build()


@pytest.mark.parametrize(
    ("condition", "expected", "actual"),
    [
        (SUPPORT_OR_CHAT, "task is one of chat, support", "task is billing"),
        (TenantIs(tenants=("globex",)), "tenant is globex", "tenant is acme"),
        (EndUserIs(end_users=("ann",)), "end user is ann", "no end user was given"),
        (PRO_IN_EUROPE, "tag area is eu and tag plan is one of pro, team", "no tag area, tag plan is free"),
        (
            TEN_TO_TWENTY,
            "estimated input is between 10 and 20 tokens",
            "estimated input is 512 tokens",
        ),
        (ASKED_AT_LEAST_TEN, "requested output is at least 10 tokens", "no output limit was requested"),
        (
            OutputTokensBetween(maximum=9),
            "requested output is at most 9 tokens",
            "no output limit was requested",
        ),
        (SEES_AND_STREAMS, "the request needs streaming, vision", "the request needs nothing special"),
        (
            BudgetUsed(scope=BudgetScope.TENANT, used_pct_min=80),
            "tenant budget is used to at least 80 %",
            "budget month is used to 42 %",
        ),
        (
            BudgetUsed(scope=BudgetScope.END_USER, used_pct_min=80),
            "end user budget is used to at least 80 %",
            "no end user budget applies",
        ),
    ],
)
def test_a_condition_says_what_it_expected_and_what_it_met(
    condition: Condition, expected: str, actual: str
) -> None:
    facts = some_facts(task="billing", end_user=None, tags={"plan": "free"}, input_tokens=512)
    situation = Situation(budgets=(a_budget(used_nanos=42),))

    assert condition.expected() == expected
    assert condition.actual(facts, situation, NOW) == actual


def test_a_long_list_of_values_is_cut_in_words() -> None:
    condition = TenantIs(tenants=tuple("abcdefgh"))

    assert condition.expected() == "tenant is one of a, b, c, d, e and 3 more"
