"""What the page on the reconciler shows."""

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from dispatch_app.models import ReconcileDifference, ReconcileRun
from dispatch_app.rollups.drain import Lag, measure_lag
from dispatch_app.rollups.statements import Row, fetch, fetch_one

SHOWN_RUNS = 12
SHOWN_DIFFERENCES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAttempts:
    """How many attempts are under way, by how long. `overdue` ones wait for the sweep that charges them."""

    total: int
    oldest_at: datetime | None
    under_1_min: int
    under_5_min: int
    under_15_min: int
    over_15_min: int
    overdue: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The state of log, budgets and rollups."""

    read_at: datetime
    runs: list[ReconcileRun]
    standing: list[ReconcileDifference]
    standing_count: int
    gone: list[ReconcileDifference]
    adjustments: list[Row]
    lag: Lag
    open_attempts: OpenAttempts


def read_books() -> Books:
    """Everything at this moment."""
    now = timezone.now()
    standing = ReconcileDifference.objects.filter(gone_at=None)
    gone = ReconcileDifference.objects.exclude(gone_at=None)
    return Books(
        read_at=now,
        runs=list(ReconcileRun.objects.order_by("-started_at")[:SHOWN_RUNS]),
        standing=list(standing.order_by("-first_seen_at", "pk")[:SHOWN_DIFFERENCES]),
        standing_count=standing.count(),
        gone=list(gone.order_by("-gone_at", "pk")[:SHOWN_RUNS]),
        adjustments=fetch("recent_adjustments"),
        lag=measure_lag(),
        open_attempts=count_open_attempts(now=now),
    )


def count_open_attempts(*, now: datetime) -> OpenAttempts:
    """The attempts that are open, by age."""
    return OpenAttempts(**fetch_one("open_attempts_by_age", {"now": now}))
