"""The closed set of conditions that a rule can state.

A condition reads facts of the request and the situation around it, never the text of a prompt. Its operands are checked
when it is built, so that a bad rule fails then and not on a request. A fact that is missing matches nothing.
"""

from collections.abc import Mapping
from typing import get_args

from policies_app.routing.conditions.budgets import BudgetForecast, BudgetUsed
from policies_app.routing.conditions.figures import FigureCondition
from policies_app.routing.conditions.fleet import HealthDegraded, LatencyAbove, QualityAtLeast
from policies_app.routing.conditions.occasion import ShareOf, WithinHours
from policies_app.routing.conditions.request import (
    ApiKeyIs,
    EndUserIs,
    InputTokensBetween,
    NeedsAll,
    OutputTokensBetween,
    TagsMatch,
    TaskIs,
    TenantIs,
)

__all__ = [
    "CONDITION_KINDS",
    "ApiKeyIs",
    "BudgetForecast",
    "BudgetUsed",
    "Condition",
    "EndUserIs",
    "FigureCondition",
    "HealthDegraded",
    "InputTokensBetween",
    "LatencyAbove",
    "NeedsAll",
    "OutputTokensBetween",
    "QualityAtLeast",
    "ShareOf",
    "TagsMatch",
    "TaskIs",
    "TenantIs",
    "WithinHours",
]

Condition = (
    TaskIs
    | TenantIs
    | ApiKeyIs
    | EndUserIs
    | TagsMatch
    | InputTokensBetween
    | OutputTokensBetween
    | NeedsAll
    | BudgetUsed
    | BudgetForecast
    | LatencyAbove
    | QualityAtLeast
    | HealthDegraded
    | WithinHours
    | ShareOf
)

CONDITION_KINDS: Mapping[str, type[Condition]] = {
    condition.kind: condition for condition in get_args(Condition)
}
"""Every condition by the `kind` that documents name it by."""
