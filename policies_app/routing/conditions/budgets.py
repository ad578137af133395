"""Conditions on how far budgets are used."""

from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import ClassVar

from policies_app.routing.codes import BudgetScope
from policies_app.routing.conditions.figures import FigureCondition
from policies_app.routing.operands import require_integer
from policies_app.routing.periods import LIFETIME_END
from policies_app.routing.types import BudgetPressure, Facts, Situation

LEAST_ELAPSED = 0.05
"""The share of a period before which nothing is said about its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUsed(FigureCondition):
    """Some budget of `scope` that applies to the request is used up to `used_pct_min` percent or more."""

    kind: ClassVar[str] = "budget_used"

    scope: BudgetScope
    used_pct_min: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", BudgetScope(self.scope))
        require_integer(self.used_pct_min, "used_pct_min", least=1)

    @property
    def subject(self) -> BudgetScope:
        """Whose budgets."""
        return self.scope

    @property
    def bounds(self) -> tuple[float, float]:
        """In percent."""
        return self.used_pct_min, inf

    def figure(self, facts: Facts, situation: Situation, now: datetime) -> float | None:
        """How far the fullest of the budgets is used, in percent."""
        fullest = None
        for budget in situation.budgets:
            if budget.scope is self.scope:
                used_pct = budget.used_pct
                if fullest is None or used_pct > fullest:
                    fullest = used_pct
        return fullest

    def expected(self) -> str:
        """What must hold, in words."""
        return f"{self._scope_words} budget is used to at least {self.used_pct_min} %"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request brought instead, in words."""
        used = [
            f"budget {budget.name} is used to {budget.used_pct:.0f} %"
            for budget in situation.budgets
            if budget.scope is self.scope
        ]
        return ", ".join(used) or f"no {self._scope_words} budget applies"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return (
            isinstance(other, BudgetUsed)
            and self.scope is other.scope
            and self.used_pct_min >= other.used_pct_min
        )

    def contradicts(self, other: object) -> bool:
        """Never: usage has no upper end."""
        return False

    @property
    def _scope_words(self) -> str:
        return self.scope.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetForecast(FigureCondition):
    """Some budget of `scope` will have used `projected_pct_min` percent or more when its period ends.

    The use so far is taken to go on at the same pace. A lifetime has no end, and the first twentieth of a period says
    too little of the rest.
    """

    kind: ClassVar[str] = "budget_forecast"

    scope: BudgetScope
    projected_pct_min: int = 100

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", BudgetScope(self.scope))
        require_integer(self.projected_pct_min, "projected_pct_min", least=1)

    @property
    def subject(self) -> BudgetScope:
        """Whose budgets."""
        return self.scope

    @property
    def bounds(self) -> tuple[float, float]:
        """In percent."""
        return self.projected_pct_min, inf

    def figure(self, facts: Facts, situation: Situation, now: datetime) -> float | None:
        """What the budget that is on the worst course will have used, in percent."""
        worst = None
        for budget in situation.budgets:
            if budget.scope is self.scope:
                projected_pct = _projected_pct(budget, now)
                if projected_pct is not None and (worst is None or projected_pct > worst):
                    worst = projected_pct
        return worst

    def expected(self) -> str:
        """What must hold, in words."""
        words = self.scope.replace("_", " ")
        return f"{words} budget is on course to be used to at least {self.projected_pct_min} % by its period's end"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request brought instead, in words."""
        budgets = [budget for budget in situation.budgets if budget.scope is self.scope]
        courses = [
            f"budget {budget.name} is on course for {projected:.0f} %"
            for budget in budgets
            if (projected := _projected_pct(budget, now)) is not None
        ]
        words = self.scope.replace("_", " ")
        none = (
            "it is too early in its period to tell, or it has no end"
            if budgets
            else f"no {words} budget applies"
        )
        return ", ".join(courses) or none

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return (
            isinstance(other, BudgetForecast)
            and self.scope is other.scope
            and self.projected_pct_min >= other.projected_pct_min
        )

    def contradicts(self, other: object) -> bool:
        """Never: usage has no upper end."""
        return False


def _projected_pct(budget: BudgetPressure, now: datetime) -> float | None:
    """What the budget will have used at its period's end, in percent; None if nothing can be said of it."""
    start, end = budget.period_start, budget.period_end
    if start is None or end is None or end == LIFETIME_END:
        return None
    elapsed = (now - start) / (end - start)
    return budget.used_pct / min(elapsed, 1.0) if elapsed >= LEAST_ELAPSED else None
