"""What this process saw of the fleet and has not told the others yet. Runs on every attempt: a microsecond, no I/O."""

from dataclasses import dataclass, field
from datetime import datetime

from dispatch_app.execution.ports import TargetReport
from dispatch_app.fleet.histogram import bucket_of
from policies_app.routing.codes import FaultClass, LatencyMeasure

CallKey = tuple[int, LatencyMeasure, int]
"""Model id, measure and bucket."""

_VENDORS_OWN_LIMITS = frozenset({FaultClass.FIRST_BYTE_TIMEOUT, FaultClass.IDLE_TIMEOUT})
_CUT_SHORT = frozenset(
    {
        FaultClass.FIRST_BYTE_TIMEOUT,
        FaultClass.IDLE_TIMEOUT,
        FaultClass.DEADLINE_EXCEEDED,
        FaultClass.CLIENT_DISCONNECTED,
        FaultClass.SUPERSEDED,
        FaultClass.KILLED,
        FaultClass.SHUT_DOWN,
    }
)
"""How calls end that would have gone on. What else fails says nothing of how long answers take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Calls by model, measure and bucket, and when each model last gave a sign of life."""

    calls: dict[CallKey, int] = field(default_factory=dict)
    last_used_at: dict[int, datetime] = field(default_factory=dict)

    def observe(self, model_id: int, *, first_byte_ms: int | None, total_ms: int | None) -> None:
        """Count one call by how long it took to its first byte and to its end, None where that is not known."""
        if first_byte_ms is not None:
            self._count((model_id, LatencyMeasure.FIRST_BYTE, bucket_of(first_byte_ms)), 1)
        if total_ms is not None:
            self._count((model_id, LatencyMeasure.TOTAL, bucket_of(total_ms)), 1)

    def note_use(self, model_id: int, at: datetime) -> None:
        """The model gave a sign of life: it is warm."""
        known = self.last_used_at.get(model_id)
        if known is None or known < at:
            self.last_used_at[model_id] = at

    def add(self, other: "Observations") -> None:
        """Take in what another one holds."""
        for key, calls in other.calls.items():
            self._count(key, calls)
        for model_id, at in other.last_used_at.items():
            self.note_use(model_id, at)

    def _count(self, key: CallKey, calls: int) -> None:
        self.calls[key] = self.calls.get(key, 0) + calls


def first_byte_of(report: TargetReport, *, learned_ms: int | None) -> int | None:
    """How long the first byte took, or at least took; None if the call says nothing of that.

    A call that was cut short while it was silent counts by how long it was waited for, but only where that is longer than
    what is learned. To leave it out would let the percentile sink with each hedge that wins; to count a shorter wait would
    take the speed of a race's winner for the loser's.
    """
    if report.fault is not None and report.fault not in _CUT_SHORT:
        return None
    if report.first_byte_ms is not None or report.fault is None:
        return report.first_byte_ms
    is_long = learned_ms is not None and report.total_ms > learned_ms
    return report.total_ms if is_long or report.fault in _VENDORS_OWN_LIMITS else None


def total_of(report: TargetReport) -> int | None:
    """How long the answer took, or at least would have taken; None if the call says nothing of that."""
    return report.total_ms if report.fault is None or report.fault in _VENDORS_OWN_LIMITS else None
