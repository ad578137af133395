"""One attempt, while it runs and when it is over."""

from dataclasses import dataclass

from dispatch_app.execution.ports import AttemptRecord, Settlement
from policies_app.routing.types import Candidate


@dataclass(slots=True, kw_only=True)
class RunningAttempt:
    """One attempt while it runs."""

    record: AttemptRecord
    candidate: Candidate
    started_at: float
    deadline_at: float
    first_byte_at: float | None = None
    received_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PastAttempt:
    """An attempt that is over."""

    record: AttemptRecord
    candidate: Candidate
    settlement: Settlement
