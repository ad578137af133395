"""Whom to ask next."""

from dispatch_app.execution.ports import Health
from policies_app.routing.types import Candidate


class Targets:
    """The candidates still to be asked, each once, in order; those that are ejected at the moment only if no other is left."""

    def __init__(self, candidates: tuple[Candidate, ...], *, health: Health) -> None:
        self._waiting = list(candidates)
        self._health = health
        self._bound_forbidden: int | None = None
        self._had_last_resort = False

    def take(self) -> Candidate | None:
        """The next candidate, None if there is none left."""
        fitting = [candidate for candidate in self._waiting if self._fits(candidate)]
        for candidate in fitting:
            if self._health.admits(candidate):
                return self._remove(candidate)
        if not fitting or self._had_last_resort:
            return None
        self._had_last_resort = True
        return self._remove(min(fitting, key=self._health.badness))

    @property
    def has_more(self) -> bool:
        """Whether there is a candidate that has not been asked."""
        return any(self._fits(candidate) for candidate in self._waiting)

    def forbid_bounds_from(self, bound_nanos: int) -> None:
        """Leave out candidates that reserve as much as one that a budget could not cover."""
        known = self._bound_forbidden
        self._bound_forbidden = bound_nanos if known is None else min(known, bound_nanos)

    def _remove(self, candidate: Candidate) -> Candidate:
        self._waiting.remove(candidate)
        return candidate

    def _fits(self, candidate: Candidate) -> bool:
        return self._bound_forbidden is None or candidate.bound_nanos < self._bound_forbidden
