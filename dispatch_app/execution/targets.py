"""Whom to ask next."""

from dispatch_app.execution.retry_budget import RetryBudget
from policies_app.routing.codes import AttemptRole
from policies_app.routing.types import Candidate, RoutePlan


class Targets:
    """The candidates still to be asked: in order, each once, and once more at most for a retry."""

    def __init__(self, *, plan: RoutePlan) -> None:
        self._waiting = list(reversed(plan.candidates))
        self._bound_forbidden: int | None = None
        self._retried: set[str] = set()
        self.role = AttemptRole.PRIMARY
        self._next_role = AttemptRole.PRIMARY

    @property
    def has_more(self) -> bool:
        return any(self._fits(candidate) for candidate in self._waiting)

    def take(self) -> Candidate | None:
        """The next candidate, None if there is none left."""
        while self._waiting:
            candidate = self._waiting.pop()
            if self._fits(candidate):
                self.role, self._next_role = self._next_role, AttemptRole.FALLBACK
                return candidate
        return None

    def forbid_bounds_from(self, bound_nanos: int) -> None:
        """Leave out candidates that reserve as much as one that a budget could not cover."""
        self._bound_forbidden = bound_nanos

    def retry(self, candidate: Candidate, *, budget: RetryBudget, now: float) -> bool:
        """Put a candidate back in front, unless it had its retry or the process has had too many."""
        if candidate.model.name in self._retried or not budget.spend(now=now):
            return False
        self._retried.add(candidate.model.name)
        self._waiting.append(candidate)
        self._next_role = AttemptRole.RETRY
        return True

    def _fits(self, candidate: Candidate) -> bool:
        return self._bound_forbidden is None or candidate.bound_nanos < self._bound_forbidden
