"""All tenants' month: what the first cost page shows."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

from dispatch_app.costs.budgets import BudgetUse, month_budgets
from dispatch_app.costs.figures import (
    Savings,
    Sums,
    cost_by_tenant_and_day,
    savings_by_tenant,
    sums_by_tenant,
    total,
)
from dispatch_app.costs.months import Month
from dispatch_app.costs.zones import zone_of
from policies_app.models import Tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantRow:
    """One tenant's month. Today and yesterday are its own, whatever the month."""

    tenant: Tenant
    sums: Sums
    savings: Savings | None
    budget: BudgetUse | None
    today_nanos: int
    yesterday_nanos: int


class SortColumn(StrEnum):
    """What the table can be sorted by."""

    TENANT = "tenant"
    SPEND = "spend"
    BUDGET = "budget"
    TODAY = "today"
    YESTERDAY = "yesterday"
    DISPATCHES = "dispatches"
    FAILURES = "failures"
    SAVINGS = "savings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorting:
    """An order of the table, as addresses write it: `spend`, or `-spend` for the most first."""

    column: SortColumn
    is_descending: bool

    @classmethod
    def parse(cls, text: str) -> "Sorting":
        """The order that a text asks for; the dearest first if it asks for none that there is."""
        name = text.removeprefix("-")
        if name not in set(SortColumn):
            return cls(column=SortColumn.SPEND, is_descending=True)
        return cls(column=SortColumn(name), is_descending=text.startswith("-"))

    def __str__(self) -> str:
        return f"-{self.column}" if self.is_descending else str(self.column)

    def after_click(self, column: SortColumn) -> str:
        """The order that a click on a column's head asks for: figures start with the most."""
        if column is self.column:
            return str(Sorting(column=column, is_descending=not self.is_descending))
        return str(Sorting(column=column, is_descending=column is not SortColumn.TENANT))


_SORT_KEYS: dict[SortColumn, Callable[[TenantRow], float | str]] = {
    SortColumn.TENANT: lambda row: str(row.tenant).casefold(),
    SortColumn.SPEND: lambda row: row.sums.cost_nanos,
    SortColumn.BUDGET: lambda row: row.budget.used_pct if row.budget else -1,
    SortColumn.TODAY: lambda row: row.today_nanos,
    SortColumn.YESTERDAY: lambda row: row.yesterday_nanos,
    SortColumn.DISPATCHES: lambda row: row.sums.dispatches,
    SortColumn.FAILURES: lambda row: -1 if row.sums.failure_pct is None else row.sums.failure_pct,
    SortColumn.SAVINGS: lambda row: row.savings.saved_nanos if row.savings else float("-inf"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The table in its order, and what it adds up to."""

    rows: tuple[TenantRow, ...]
    sums: Sums
    savings: Savings | None


def read_overview(*, month: Month, sorting: Sorting, now: datetime) -> Overview:
    """All tenants' month, each in its own time zone."""
    tenants = {tenant.pk: tenant for tenant in Tenant.objects.order_by("name")}
    at = {pk: instant_in(month, tenant, now=now) for pk, tenant in tenants.items()}
    sums = sums_by_tenant(month=month, tenant_ids=tenants)
    savings = savings_by_tenant(month=month, tenant_ids=tenants)
    budgets = month_budgets(at=at)
    recent = _recent_costs(tenants.values(), now=now)
    rows = [
        TenantRow(
            tenant=tenant,
            sums=sums.get(pk, Sums()),
            savings=savings.get(pk),
            budget=budgets.get(pk),
            today_nanos=recent[pk][0],
            yesterday_nanos=recent[pk][1],
        )
        for pk, tenant in tenants.items()
    ]
    rows.sort(key=_SORT_KEYS[sorting.column], reverse=sorting.is_descending)
    return Overview(
        rows=tuple(rows), sums=total(row.sums for row in rows), savings=_together(savings.values())
    )


def instant_in(month: Month, tenant: Tenant, *, now: datetime) -> datetime:
    """Now if the month is running for the tenant, else the month's last moment (first, if it is still to come)."""
    zone = zone_of(tenant)
    begins, ends = month.begins_at(zone), month.ends_at(zone)
    return min(max(now, begins), ends - timedelta(microseconds=1))


def _recent_costs(tenants: Collection[Tenant], *, now: datetime) -> dict[int, tuple[int, int]]:
    """By tenant: what it spent today and yesterday."""
    today: dict[int, date] = {tenant.pk: now.astimezone(zone_of(tenant)).date() for tenant in tenants}
    one_day = timedelta(days=1)
    days = {day - n * one_day for day in today.values() for n in (0, 1)}
    costs = cost_by_tenant_and_day(days=days, tenant_ids=today)
    return {pk: (costs.get((pk, day), 0), costs.get((pk, day - one_day), 0)) for pk, day in today.items()}


def _together(savings: Collection[Savings]) -> Savings | None:
    if not savings:
        return None
    return Savings(
        cost_nanos=sum(one.cost_nanos for one in savings),
        baseline_nanos=sum(one.baseline_nanos for one in savings),
    )
