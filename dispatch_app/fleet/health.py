"""Implements `ports.Health`: the breakers decide who may be called, and what they are told the statistics hear as well."""

from dispatch_app.execution.ports import Health, TargetReport
from dispatch_app.fleet.fleet import Fleet
from policies_app.routing.types import Candidate


class FleetHealth:
    """Forwards questions to `breakers`, and each report to both `breakers` and `fleet`."""

    def __init__(self, *, breakers: Health, fleet: Fleet) -> None:
        # Bound once: these run on every attempt.
        self.admits = breakers.admits
        self.badness = breakers.badness
        self._breakers = breakers
        self._fleet = fleet

    def report(self, candidate: Candidate, report: TargetReport) -> None:
        """Note how an attempt went."""
        self._breakers.report(candidate, report)
        self._fleet.report(candidate, report)
