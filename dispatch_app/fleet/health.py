"""Implements `ports.Health`: the breakers decide who may be called, and what they are told the statistics hear as well."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from dispatch_app.execution.breakers import TargetKey, key_of_model
from dispatch_app.execution.ports import Health, Target, TargetReport
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.snapshot.types import ServedProvider, Snapshot


class FleetHealth:
    """Forwards questions to `breakers`, and each report to both `breakers` and `fleet`."""

    def __init__(self, *, breakers: Health, fleet: Fleet) -> None:
        # Bound once: these run on every attempt.
        self.admits = breakers.admits
        self.badness = breakers.badness
        self._breakers = breakers
        self._fleet = fleet

    def report(self, target: Target, report: TargetReport) -> None:
        """Note how an attempt went."""
        self._breakers.report(target, report)
        self._fleet.report(target.model, report)


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
        is_model = served is not None and (served.id, served.provider_id) == (key.model_id, key.provider_id)
        return is_model and any(
            (provider.credential.name, provider.region) == (key.credential, key.region)
            for provider in snapshot.providers.get(key.provider_id, ())
        )

    def targets_of(self, model: str) -> Iterable[TargetKey]:
        """One for each credential that the model's provider can be called with."""
        snapshot = self._find_snapshot()
        served = None if snapshot is None else snapshot.catalogue.get(model)
        if snapshot is None or served is None:
            return []
        return [
            TargetKey(
                provider_id=provider.id,
                credential=provider.credential.name,
                model_id=served.id,
                region=provider.region,
            )
            for provider in snapshot.providers.get(served.provider_id, ())
        ]


def key_by(find_provider: Callable[[int, int], ServedProvider | None]) -> Callable[[Target], TargetKey]:
    """What breakers are kept for: a model, called with a credential, in the region that its provider has now."""

    def key_of(target: Target) -> TargetKey:
        provider = find_provider(target.model.provider_id, target.credential.id)
        key = key_of_model(target)
        return key if provider is None else replace(key, region=provider.region)

    return key_of
