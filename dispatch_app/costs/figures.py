"""What the rollups say, as plain values. Amounts are nano-dollars. Nothing here reads the log."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date
from typing import Any, Literal

from django.db.models import Q, QuerySet, Sum

from dispatch_app.costs.months import Month
from dispatch_app.models import RollupDay, RollupLatency, RollupMonth
from policies_app.routing.codes import DispatchStatus

CONTINUED = "continued"
"""The outcome of an attempt that did not end its dispatch: it failed, lost, was not accepted, or judged another."""
FAILURES = (DispatchStatus.FAILED, DispatchStatus.EXPIRED)

Dimension = Literal["task", "policy_id", "model_id", "end_user"]

_INPUT = ("input_tokens", "cached_input_tokens", "cache_write_tokens")
_OUTPUT = ("output_tokens", "reasoning_tokens")


def _sum(*columns: str, **options: Any) -> Any:
    first, *others = [Sum(column, default=0, **options) for column in columns]
    return sum(others, first)


# Their names must not be those of columns.
_SUMS = {
    "sum_cost_nanos": _sum("cost_nanos"),
    "sum_aside_nanos": _sum("cost_nanos", filter=Q(outcome=CONTINUED)),
    "sum_wasted_nanos": _sum("wasted_nanos"),
    "sum_baseline_nanos": _sum("baseline_cost_nanos"),
    "sum_dispatches": _sum("dispatches"),
    "sum_failures": _sum("dispatches", filter=Q(outcome__in=FAILURES)),
    "sum_refusals": _sum("dispatches", filter=Q(outcome=DispatchStatus.REFUSED)),
    "sum_input_tokens": _sum(*_INPUT),
    "sum_output_tokens": _sum(*_OUTPUT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What some dispatches add up to. Input includes what a cache read or wrote, output includes reasoning.

    `aside_nanos` is the part of the cost that went to attempts that did not end their dispatch, `wasted_nanos` the part that
    Signalbox itself caused beside the answers: what lost, was not taken or was cut here.
    """

    cost_nanos: int = 0
    aside_nanos: int = 0
    wasted_nanos: int = 0
    baseline_nanos: int = 0
    dispatches: int = 0
    failures: int = 0
    refusals: int = 0
    input_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(
            **{field.name: getattr(self, field.name) - getattr(other, field.name) for field in fields(self)}
        )

    @property
    def average_nanos(self) -> int | None:
        """Cost of a dispatch, rounded down."""
        return self.cost_nanos // self.dispatches if self.dispatches else None

    @property
    def aside_pct(self) -> float | None:
        """Share of the cost that went to attempts that did not end their dispatch."""
        return 100 * self.aside_nanos / self.cost_nanos if self.cost_nanos else None

    @property
    def wasted_pct(self) -> float | None:
        """Share of the cost that Signalbox itself caused beside the answers."""
        return 100 * self.wasted_nanos / self.cost_nanos if self.cost_nanos else None

    @property
    def failure_pct(self) -> float | None:
        """Share of the dispatches that failed."""
        return 100 * self.failures / self.dispatches if self.dispatches else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What policies with a declared baseline model cost, and what that model would have cost."""

    cost_nanos: int = 0
    baseline_nanos: int = 0

    @property
    def saved_nanos(self) -> int:
        """Negative when the policies cost more than their baseline."""
        return self.baseline_nanos - self.cost_nanos

    @property
    def saved_pct(self) -> float | None:
        """Of what the baseline would have cost."""
        return 100 * self.saved_nanos / self.baseline_nanos if self.baseline_nanos else None


def sums_by_tenant(*, month: Month, tenant_ids: Collection[int]) -> dict[int, Sums]:
    """Each tenant's month."""
    rows = RollupMonth.objects.filter(tenant_id__in=tenant_ids, month=month.first_day)
    return _sums_by_key(rows.values("tenant_id").annotate(**_SUMS), "tenant_id")


def savings_by_tenant(*, month: Month, tenant_ids: Collection[int]) -> dict[int, Savings]:
    """Each tenant's savings; tenants none of whose policies has a baseline are left out."""
    rows = (
        RollupMonth.objects.filter(tenant_id__in=tenant_ids, month=month.first_day)
        .values("tenant_id", "policy_id")
        .annotate(cost=Sum("cost_nanos"), baseline=Sum("baseline_cost_nanos"))
        .filter(baseline__gt=0)
    )
    savings: dict[int, Savings] = {}
    for row in rows:
        known = savings.get(row["tenant_id"], Savings())
        savings[row["tenant_id"]] = Savings(
            cost_nanos=known.cost_nanos + row["cost"], baseline_nanos=known.baseline_nanos + row["baseline"]
        )
    return savings


def cost_by_tenant_and_day(
    *, days: Collection[date], tenant_ids: Collection[int]
) -> dict[tuple[int, date], int]:
    """What each tenant spent on each of some days; days without spend are left out."""
    rows = RollupDay.objects.filter(tenant_id__in=tenant_ids, day__in=days)
    spent = rows.values("tenant_id", "day").annotate(cost=Sum("cost_nanos"))
    return {(row["tenant_id"], row["day"]): row["cost"] for row in spent}


def month_of(tenant_id: int, month: Month) -> "QuerySet[RollupMonth]":
    """The rows of one tenant's month."""
    return RollupMonth.objects.filter(tenant_id=tenant_id, month=month.first_day)


def sums_by(
    rows: "QuerySet[RollupMonth]", dimension: Dimension, *, most: int | None = None
) -> dict[str | int, Sums]:
    """Sums by task, policy, model or user, dearest first, and only the first `most` of them."""
    groups = (
        rows.values(dimension).annotate(**_SUMS).order_by("-sum_cost_nanos", "-sum_dispatches", dimension)
    )
    return _sums_by_key(groups[:most], dimension)


def _sums_by_key(rows: Iterable[Mapping[str, Any]], key: str) -> dict[Any, Sums]:
    return {row[key]: Sums(**{name.removeprefix("sum_"): row[name] for name in _SUMS}) for row in rows}


def total(groups: Iterable[Sums]) -> Sums:
    """The sum of sums."""
    return sum(groups, Sums())


def savings_of(by_policy: Mapping[str | int, Sums]) -> Savings | None:
    """What the policies with a baseline saved; None if there is none."""
    measured = [sums for sums in by_policy.values() if sums.baseline_nanos]
    if not measured:
        return None
    together = total(measured)
    return Savings(cost_nanos=together.cost_nanos, baseline_nanos=together.baseline_nanos)


def cost_by_day_and_model(tenant_id: int, month: Month) -> dict[tuple[date, int], int]:
    """What each model cost on each day; model 0 stands for none."""
    rows = RollupDay.objects.filter(tenant_id=tenant_id, day__in=month.days)
    spent = rows.values("day", "model_id").annotate(cost=Sum("cost_nanos")).order_by("day", "model_id")
    return {(row["day"], row["model_id"]): row["cost"] for row in spent}


def latency_histogram(tenant_id: int, month: Month) -> dict[int, int]:
    """How many dispatches were answered within each bucket of duration."""
    rows = RollupLatency.objects.filter(
        tenant_id=tenant_id, day__gte=month.first_day, day__lt=month.following.first_day
    )
    counted = rows.values("bucket").annotate(count=Sum("dispatches"))
    return {row["bucket"]: row["count"] for row in counted}
