"""Implements `ports.Health`: the breakers decide who may be called, and what they are told the statistics hear as well."""

from collections.abc import Callable

from dispatch_app.execution.breakers import TargetKey, key_of_model
from dispatch_app.execution.ports import Health, TargetReport
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.snapshot.types import ServedProvider
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


def key_by(find_provider: Callable[[int], ServedProvider | None]) -> Callable[[Candidate], TargetKey]:
    """What breakers are kept for: a model, called with the secret and in the region that its provider has now."""

    def key_of(candidate: Candidate) -> TargetKey:
        model = candidate.model
        provider = find_provider(model.provider_id)
        if provider is None:
            return key_of_model(candidate)
        return TargetKey(
            provider_id=provider.id, credential=provider.credential, model_id=model.id, region=provider.region
        )

    return key_of
