"""Implements `ports.Health`: the breakers decide who may be called, and what they are told the statistics hear as well."""

from collections.abc import Callable

from dispatch_app.execution.breakers import TargetKey, key_of_model
from dispatch_app.execution.ports import Health, TargetReport
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.snapshot.types import ServedProvider, Snapshot
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


class ServedTargets:
    """Implements `dispatch_app.execution.breakers.Roster`: the models that are served, at what their providers have now."""

    def __init__(self, find_snapshot: Callable[[], Snapshot | None]) -> None:
        self._find_snapshot = find_snapshot

    @property
    def version(self) -> object:
        """The snapshot of the moment, which is swapped as a whole."""
        return self._find_snapshot()

    def has(self, key: TargetKey, *, model: str) -> bool:
        """Whether the model of that name is this one, called with this credential and in this region."""
        snapshot = self._find_snapshot()
        if snapshot is None:
            return True
        served = snapshot.catalogue.get(model)
        provider = snapshot.providers.get(key.provider_id)
        is_model = served is not None and (served.id, served.provider_id) == (key.model_id, key.provider_id)
        return (
            is_model
            and provider is not None
            and (provider.credential, provider.region) == (key.credential, key.region)
        )


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
