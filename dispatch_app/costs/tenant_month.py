"""One tenant's month: what its cost page shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from dispatch_app.costs import figures
from dispatch_app.costs.budgets import BudgetLine, budgets_of
from dispatch_app.costs.charts import DayChart, day_chart
from dispatch_app.costs.figures import Savings, Sums
from dispatch_app.costs.latency import percentile_ms
from dispatch_app.costs.months import Month
from dispatch_app.costs.names import model_names, policy_names
from dispatch_app.costs.overview import instant_in
from policies_app.models import Tenant

USERS_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a breakdown. `place` is the colour that the chart gives it, None if it is not in the chart."""

    name: str
    sums: Sums
    share_pct: float
    place: int | None = None
    value: str = ""
    """What a filter of the dispatches takes for it; empty if none does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The month split by one thing, dearest first."""

    title: str
    head: str
    lines: tuple[Line, ...]
    filter_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantMonth:
    """All figures of the page. Latencies are those of answered dispatches, to within 10 %."""

    sums: Sums
    savings: Savings | None
    median_ms: int | None
    p95_ms: int | None
    budgets: tuple[BudgetLine, ...]
    chart: DayChart
    breakdowns: tuple[Breakdown, ...]
    by_user: Breakdown


def read_tenant_month(*, tenant: Tenant, month: Month, now: datetime) -> TenantMonth:
    """The month of one tenant, in its time zone, from the rollups and the budgets."""
    rows = figures.month_of(tenant.pk, month)
    by_model = figures.sums_by(rows, "model_id")
    by_policy = figures.sums_by(rows, "policy_id")
    sums = figures.total(by_model.values())
    models = model_names([int(key) for key in by_model])
    chart = day_chart(days=month.days, nanos=figures.cost_by_day_and_model(tenant.pk, month), names=models)
    histogram = figures.latency_histogram(tenant.pk, month)
    return TenantMonth(
        sums=sums,
        savings=figures.savings_of(by_policy),
        median_ms=percentile_ms(histogram, percent=50),
        p95_ms=percentile_ms(histogram, percent=95),
        budgets=tuple(budgets_of(tenant, at=instant_in(month, tenant, now=now))),
        chart=chart,
        breakdowns=(
            _by_model(by_model, models, chart, sums),
            _by_policy(by_policy, sums),
            _by_text("task", "Task", figures.sums_by(rows, "task"), sums),
        ),
        by_user=_by_user(figures.sums_by(rows, "end_user", most=USERS_SHOWN), sums),
    )


def _by_model(
    groups: Mapping[str | int, Sums], names: Mapping[int, str], chart: DayChart, sums: Sums
) -> Breakdown:
    places = {series.key: series.place for series in chart.series}
    others = places.get(None)
    return Breakdown(
        title="By model",
        head="Model",
        filter_name="model",
        lines=tuple(
            Line(
                name=names[int(key)],
                sums=group,
                share_pct=_share(group, sums),
                place=places.get(int(key), others) if group.cost_nanos else None,
                value=names[int(key)] if key else "",
            )
            for key, group in groups.items()
        ),
    )


def _by_policy(groups: Mapping[str | int, Sums], sums: Sums) -> Breakdown:
    names = policy_names([int(key) for key in groups])
    return Breakdown(
        title="By policy",
        head="Policy",
        lines=tuple(
            Line(name=names[int(key)], sums=group, share_pct=_share(group, sums))
            for key, group in groups.items()
        ),
    )


def _by_text(name: str, head: str, groups: Mapping[str | int, Sums], sums: Sums) -> Breakdown:
    return Breakdown(
        title=f"By {head.lower()}",
        head=head,
        filter_name=name,
        lines=tuple(
            Line(
                name=str(key) or f"No {head.lower()} named",
                sums=group,
                share_pct=_share(group, sums),
                value=str(key),
            )
            for key, group in groups.items()
        ),
    )


def _by_user(groups: Mapping[str | int, Sums], sums: Sums) -> Breakdown:
    shown = _by_text("user", "User", groups, sums)
    others = sums - figures.total(groups.values())
    if others == Sums():
        return shown
    rest = Line(name="All others", sums=others, share_pct=_share(others, sums))
    return Breakdown(
        title=shown.title, head=shown.head, filter_name=shown.filter_name, lines=(*shown.lines, rest)
    )


def _share(group: Sums, sums: Sums) -> float:
    return 100 * group.cost_nanos / sums.cost_nanos if sums.cost_nanos else 0.0
