"""Budgets and what is used of them in the period around one instant."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from dispatch_app.costs.zones import zone_of
from dispatch_app.models import BudgetBalance
from policies_app.models import Budget, Tenant
from policies_app.routing.codes import BudgetPeriod, BudgetScope
from policies_app.routing.periods import period_end, period_start

BALANCES_READ = 100
USERS_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """One budget in one period. Overage is what calls cost above their reservation."""

    budget: Budget
    subject: str
    period_start: datetime
    limit_nanos: int
    settled_nanos: int = 0
    reserved_nanos: int = 0
    overage_nanos: int = 0

    @property
    def is_raised(self) -> bool:
        """Whether raises add to the budget's own limit now."""
        return self.limit_nanos == self.budget.limit_at_nanos > self.budget.limit_nanos

    @property
    def spent_nanos(self) -> int:
        return self.settled_nanos + self.overage_nanos

    @property
    def left_nanos(self) -> int:
        """Negative when a soft budget, or the overage of a hard one, passed the limit."""
        return self.limit_nanos - self.spent_nanos - self.reserved_nanos

    @property
    def spent_pct(self) -> float:
        return _percent_of(self.limit_nanos, self.spent_nanos)

    @property
    def used_pct(self) -> float:
        """Reservations included."""
        return _percent_of(self.limit_nanos, self.spent_nanos + self.reserved_nanos)

    @property
    def state(self) -> str:
        """`over`, `near` (80 % and more) or `fine`."""
        if self.used_pct >= 100:
            return "over"
        return "near" if self.used_pct >= 80 else "fine"


def _percent_of(limit_nanos: int, nanos: int) -> float:
    if limit_nanos:
        return 100 * nanos / limit_nanos
    return 100.0 if nanos else 0.0


def month_budgets(*, at: Mapping[int, datetime]) -> dict[int, BudgetUse]:
    """By tenant: its own monthly budget in the month around its instant; of several, the one nearest its limit."""
    budgets = (
        Budget.objects.with_limit_at(timezone.now())
        .filter(tenant_id__in=at, scope=BudgetScope.TENANT, period=BudgetPeriod.MONTH, enabled=True)
        .select_related("tenant")
    )
    uses = _uses({budget: _period_start(budget, at=at[budget.tenant_id]) for budget in budgets})
    return {use.budget.tenant_id: use for use in sorted(uses, key=lambda use: use.used_pct)}


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """One budget with its use: a single one, or that of the end users who used most of theirs."""

    budget: Budget
    uses: tuple[BudgetUse, ...]
    is_for_each_user: bool
    has_more: bool


def budgets_of(tenant: Tenant, *, at: datetime) -> list[BudgetLine]:
    """All budgets of a tenant in their periods around `at`."""
    budgets = Budget.objects.with_limit_at(timezone.now()).filter(tenant=tenant, enabled=True)
    budgets = budgets.select_related("tenant", "api_key__tenant", "policy")
    starts = {budget: _period_start(budget, at=at) for budget in budgets.order_by("pk")}
    balances = _balances(starts)
    return [_line(budget, _uses_of(budget, start, balances)) for budget, start in starts.items()]


def _line(budget: Budget, uses: list[BudgetUse]) -> BudgetLine:
    return BudgetLine(
        budget=budget,
        uses=tuple(uses[:USERS_SHOWN]),
        is_for_each_user=applies_to_each_user(budget),
        has_more=len(uses) > USERS_SHOWN,
    )


def _period_start(budget: Budget, *, at: datetime) -> datetime:
    return period_start(
        period=BudgetPeriod(budget.period),
        now=at,
        zone=zone_of(budget.tenant),
        month_day=budget.month_begins_on,
    )


def _uses(starts: Mapping[Budget, datetime]) -> list[BudgetUse]:
    balances = _balances(starts)
    return [use for budget, start in starts.items() for use in _uses_of(budget, start, balances)]


def _balances(starts: Mapping[Budget, datetime]) -> dict[int, list[BudgetBalance]]:
    if not starts:
        return {}
    periods = Q()
    for budget, start in starts.items():
        periods |= Q(budget_id=budget.pk, period_start=start)
    # Whole budgets first, so that a crowd of end users cannot hide them.
    rows = BudgetBalance.objects.filter(periods).annotate(is_whole=Q(subject=""))
    by_budget: dict[int, list[BudgetBalance]] = {}
    for balance in rows.order_by("-is_whole", "-settled_nanos", "pk")[: BALANCES_READ + len(starts)]:
        by_budget.setdefault(balance.budget_id, []).append(balance)
    return by_budget


def _uses_of(budget: Budget, start: datetime, balances: dict[int, list[BudgetBalance]]) -> list[BudgetUse]:
    known = balances.get(budget.pk, [])
    if not known and not applies_to_each_user(budget):
        return [BudgetUse(budget=budget, subject="", period_start=start, limit_nanos=budget.limit_at_nanos)]
    return [
        BudgetUse(
            budget=budget,
            subject=balance.subject,
            period_start=start,
            limit_nanos=_limit_nanos(budget, balance),
            settled_nanos=balance.settled_nanos,
            reserved_nanos=balance.reserved_nanos,
            overage_nanos=balance.overage_nanos,
        )
        for balance in known
    ]


def _limit_nanos(budget: Budget, balance: BudgetBalance) -> int:
    """The limit of now in the period that runs; in one that is over, the highest that it had."""
    end = period_end(
        period=BudgetPeriod(budget.period),
        now=balance.period_start,
        zone=zone_of(budget.tenant),
        month_day=budget.month_begins_on,
    )
    if balance.granted_nanos is None or timezone.now() < end:
        return budget.limit_at_nanos
    return balance.granted_nanos


def applies_to_each_user(budget: Budget) -> bool:
    """Whether the budget counts for each end user separately."""
    return budget.scope == BudgetScope.END_USER and not budget.end_user
