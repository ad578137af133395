"""What one process counts for monitoring. Runs on every attempt: a microsecond, no I/O."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum

from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.ports import Health, Target, TargetReport
from dispatch_app.execution.retry_budget import RetryBudget

ANSWERED = "answered"
BOUNDS_MS = (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000)
"""Upper bounds of the buckets of durations; what is longer falls into the bucket `LONGER`."""
LONGER = "longer"


class Metric(StrEnum):
    """What is counted. Durations are counted by bucket and summed up, in milliseconds."""

    ATTEMPTS = "attempts"
    FIRST_BYTE_BUCKET = "first_byte_bucket"
    FIRST_BYTE_SUM = "first_byte_sum"
    DURATION_BUCKET = "duration_bucket"
    DURATION_SUM = "duration_sum"
    RETRIES = "retries"
    HEDGES = "hedges"


CountKey = tuple[Metric, int, str]
"""What is counted, the model's id (0 for no model) and a label: an outcome, a bucket, `spent` or `refused`."""


class Tally:
    """Counts that the other processes' are added to. What was told is taken off, so that nothing is told twice."""

    def __init__(self, *, retries: RetryBudget, hedges: HedgeBudget) -> None:
        self.retries = retries
        self.hedges = hedges
        self._counts: Counter[CountKey] = Counter()
        self._budgets_told: Counter[CountKey] = Counter()

    def report(self, model_id: int, report: TargetReport) -> None:
        """Count the end of one attempt at a model."""
        if report.is_of_no_call:
            return
        self._counts[Metric.ATTEMPTS, model_id, report.fault.value if report.fault else ANSWERED] += 1
        if report.fault is not None:
            return
        self._measure(Metric.DURATION_BUCKET, Metric.DURATION_SUM, model_id, report.total_ms)
        if report.first_byte_ms is not None:
            self._measure(Metric.FIRST_BYTE_BUCKET, Metric.FIRST_BYTE_SUM, model_id, report.first_byte_ms)

    def untold(self) -> Mapping[CountKey, int]:
        """Everything that was counted and not told yet."""
        return +(self._counts + (self._budgets() - self._budgets_told))

    def was_told(self, told: Mapping[CountKey, int]) -> None:
        """All know what `untold` gave out."""
        for key, count in told.items():
            if key[0] in {Metric.RETRIES, Metric.HEDGES}:
                self._budgets_told[key] += count
            else:
                self._counts[key] -= count
        self._counts = +self._counts

    def _measure(self, bucket: Metric, total: Metric, model_id: int, duration_ms: int) -> None:
        index = bisect_left(BOUNDS_MS, duration_ms)
        label = str(BOUNDS_MS[index]) if index < len(BOUNDS_MS) else LONGER
        self._counts[bucket, model_id, label] += 1
        self._counts[total, model_id, ""] += duration_ms

    def _budgets(self) -> Counter[CountKey]:
        return Counter(
            {
                (Metric.RETRIES, 0, "spent"): self.retries.spent,
                (Metric.RETRIES, 0, "refused"): self.retries.refused,
                (Metric.HEDGES, 0, "spent"): self.hedges.spent,
                (Metric.HEDGES, 0, "refused"): self.hedges.refused,
            }
        )


class TalliedHealth:
    """Implements `ports.Health`: forwards everything to `health`, and has each report counted."""

    def __init__(self, *, health: Health, tally: Tally) -> None:
        # Bound once: these run on every attempt.
        self.admits = health.admits
        self.badness = health.badness
        self._report = health.report
        self._count = tally.report

    def report(self, target: Target, report: TargetReport) -> None:
        """Note how an attempt went."""
        self._report(target, report)
        self._count(target.model.id, report)
