"""Which targets may be called at the moment, as far as this process knows. Implements `ports.Health`; performs no I/O.

A target is a model of a provider, called with one credential in one region. Each has a breaker of its own, which nobody
else is told of, except for what concerns every process: long rate limits, refused credentials, lack of credit.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Protocol

from dispatch_app.execution.breaker import (
    JITTER,
    MOST_COOLDOWN_S,
    Breaker,
    BreakerStatus,
    Cause,
    effect_of,
)
from dispatch_app.execution.outcomes import Outcomes
from dispatch_app.execution.ports import Clock, Target, TargetReport
from policies_app.routing.codes import HealthState
from policies_app.routing.types import TargetHealth

RECENT_S = 300
"""How long a target bears on its provider's health after its last call."""
_RECENT_SLOT_S = 10
DEGRADED_SHARE = 0.5
FORGET_AFTER_S = 900.0
_REFRESH_S = 1.0
_BEST_FIRST = {
    state: rank
    for rank, state in enumerate(
        (HealthState.HEALTHY, HealthState.HALF_OPEN, HealthState.COOLING, HealthState.OPEN)
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetKey:
    """What a breaker is kept for. The credential's name is empty where a provider asks for none, the region where it has but one."""

    provider_id: int
    credential: str
    model_id: int
    region: str


def key_of_model(target: Target) -> TargetKey:
    """The key of a target whose provider has one region."""
    model = target.model
    return TargetKey(
        provider_id=model.provider_id, credential=target.credential.name, model_id=model.id, region=""
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedBlock:
    """What one process tells the others: for how many seconds more a target is not to be called."""

    key: TargetKey
    model: str
    provider: str
    cause: Cause
    remaining_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """One target at a moment, as people and other processes get to see it.

    It has been in its state for `age_s`, and stays there for another `remaining_s`; None if nobody knows. `calls` and
    `failures` are those of the last five minutes. `to_share` is for other processes.
    """

    key: TargetKey
    model: str
    provider: str
    provider_is_degraded: bool
    status: BreakerStatus
    age_s: float | None
    remaining_s: float | None
    calls: int
    failures: int
    to_share: SharedBlock | None


@dataclass(slots=True, kw_only=True)
class _Target:
    key: TargetKey
    model: str
    provider: str
    breaker: Breaker
    recent: Outcomes
    last_used_at: float


class Roster(Protocol):
    """Which targets can be called at all, as the catalogue of the moment has it."""

    @property
    def version(self) -> object:
        """Another object whenever the answers of `has` may be others."""

    def has(self, key: TargetKey, *, model: str) -> bool:
        """Whether a call of `model` could be made at this target."""

    def targets_of(self, model: str) -> Iterable[TargetKey]:
        """Every target that `model` could be called at, called so far or not."""


class EveryTarget:
    """A roster that has whatever was called."""

    version: object = None

    def has(self, key: TargetKey, *, model: str) -> bool:
        """Yes."""
        del key, model
        return True

    def targets_of(self, model: str) -> Iterable[TargetKey]:
        """None but those."""
        del model
        return ()


FleetHealth = tuple[Mapping[str, TargetHealth], frozenset[str]]
"""The models that are not healthy, by name, and the names of the providers that are degraded."""


class Breakers:
    """The breakers of one process.

    A model fares as its best target does. A provider is degraded when at least half of its models that were called in the
    last five minutes are ejected, or out of credit. Rate limits alone degrade nobody.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        random: Random,
        key_of: Callable[[Target], TargetKey] = key_of_model,
        roster: Roster | None = None,
    ) -> None:
        self._roster = roster or EveryTarget()
        self._roster_seen: object = None
        self._clock = clock
        self._random = random
        self._key_of = key_of
        self._targets: dict[TargetKey, _Target] = {}
        self._health: FleetHealth = ({}, frozenset())
        self._seen: object = None
        self._changes = 0
        self._refresh_at = float("-inf")

    def admits(self, target: Target) -> bool:
        """Whether `target` may be called now. Yes takes the one probe of a half-open target.

        Whoever makes no call after a yes gives the probe back by a report that blames nobody; else it is lost for a
        minute.
        """
        now = self._clock.monotonic()
        return self._known(target, now).breaker.admit(target.asker, now=now)

    def badness(self, target: Target) -> float:
        """Orders targets that are not admitted: the least bad is tried where there is no other."""
        return self._known(target, self._clock.monotonic()).breaker.badness()

    def report(self, target: Target, report: TargetReport) -> None:
        """Note how an attempt went."""
        now = self._clock.monotonic()
        known = self._known(target, now)
        if not report.is_of_no_call:
            known.recent.add(now=now, failed=effect_of(report).is_failure)
        breaker = known.breaker
        turns = breaker.turns
        breaker.note(report, asker=target.asker, now=now)
        if breaker.turns != turns:
            self._refresh_at = now

    @property
    def changes(self) -> int:
        """Grows whenever `fleet_health` says something new; cheap enough to be asked on every request."""
        self._refresh()
        return self._changes

    def fleet_health(self) -> FleetHealth:
        """How the fleet fares, as decisions need it. The same values until something changes."""
        self._refresh()
        return self._health

    def states(self) -> list[TargetState]:
        """Every target that was called in the last 15 minutes."""
        now = self._clock.monotonic()
        self._forget(now)
        _, degraded = self.fleet_health()
        return [
            _state_of(target, now=now, provider_is_degraded=target.provider in degraded)
            for target in self._targets.values()
        ]

    def learn(self, blocks: Iterable[SharedBlock]) -> None:
        """Take over what other processes say, in place of what they said before."""
        now = self._clock.monotonic()
        told = {block.key: block for block in blocks}
        for key, target in self._targets.items():
            if key not in told:
                target.breaker.unlearn(now)
        for block in told.values():
            # A process whose clock or code is off must not eject for ever.
            remaining_s = min(block.remaining_s, MOST_COOLDOWN_S * (1 + JITTER))
            target = self._named_target(block.key, model=block.model, provider=block.provider, now=now)
            target.breaker.learn(cause=block.cause, now=now, until=now + remaining_s)
        self._refresh_at = now

    def _known(self, target: Target, now: float) -> _Target:
        model = target.model
        return self._named_target(self._key_of(target), model=model.name, provider=model.provider, now=now)

    def _named_target(self, key: TargetKey, *, model: str, provider: str, now: float) -> _Target:
        target = self._targets.get(key)
        if target is None:
            target = _Target(
                key=key,
                model=model,
                provider=provider,
                breaker=Breaker(random=self._random),
                recent=Outcomes(window_s=RECENT_S, slot_s=_RECENT_SLOT_S),
                last_used_at=now,
            )
            self._targets[key] = target
            self._refresh_at = now
        target.model, target.provider, target.last_used_at = model, provider, now
        return target

    def _refresh(self) -> None:
        now = self._clock.monotonic()
        roster_version = self._roster.version
        if now < self._refresh_at and roster_version is self._roster_seen:
            return
        self._roster_seen = roster_version
        # A credential that was replaced, or a model that was made anew, is not to blame for what it was before.
        found = {
            key: target.breaker.status(now)
            for key, target in self._targets.items()
            if self._roster.has(key, model=target.model)
        }
        untils = [status.until for status in found.values() if status.until is not None]
        self._refresh_at = min([*untils, now + _REFRESH_S])
        ailing = {
            model: (target, status)
            for model, (target, status) in self._best_targets(found).items()
            if self._is_ailing(model, status, found)
        }
        degraded = self._degraded_providers(found, ailing, now)
        seen = ({model: (status.state, status.until) for model, (_, status) in ailing.items()}, degraded)
        if seen != self._seen:
            self._seen = seen
            self._health = (self._healths(ailing, now), degraded)
            self._changes += 1

    def _best_targets(
        self, found: Mapping[TargetKey, BreakerStatus]
    ) -> dict[str, tuple[_Target, BreakerStatus]]:
        """The best target of each model."""
        best: dict[str, tuple[_Target, BreakerStatus]] = {}
        for key, status in found.items():
            target = self._targets[key]
            known = best.get(target.model)
            if known is None or _order(target, status) < _order(*known):
                best[target.model] = (target, status)
        return best

    def _is_ailing(self, model: str, status: BreakerStatus, found: Mapping[TargetKey, BreakerStatus]) -> bool:
        """Whether even the best target of a model is not healthy, and there is none that was never called."""
        return status.state is not HealthState.HEALTHY and all(
            key in found for key in self._roster.targets_of(model)
        )

    def _healths(
        self, ailing: Mapping[str, tuple[_Target, BreakerStatus]], now: float
    ) -> Mapping[str, TargetHealth]:
        wall = self._clock.now()
        return {
            model: TargetHealth(
                state=status.state,
                until=_on_the_wall(status.until, now=now, wall=wall),
                badness=target.breaker.badness(),
            )
            for model, (target, status) in ailing.items()
        }

    def _degraded_providers(
        self,
        found: Mapping[TargetKey, BreakerStatus],
        ailing: Mapping[str, tuple[_Target, BreakerStatus]],
        now: float,
    ) -> frozenset[str]:
        failing = {
            model: target.provider
            for model, (target, status) in ailing.items()
            if status.cause is not None and status.cause is not Cause.RATE_LIMIT
        }
        known = dict(failing)
        for target in map(self._targets.__getitem__, found):
            if now - target.breaker.last_report_at < RECENT_S:
                known[target.model] = target.provider
        of_all, of_failing = Counter(known.values()), Counter(failing.values())
        return frozenset(
            provider for provider, count in of_failing.items() if count >= DEGRADED_SHARE * of_all[provider]
        )

    def _forget(self, now: float) -> None:
        """Drop what was not called for long: models that were removed, credentials that were replaced."""
        for key, target in list(self._targets.items()):
            if now - target.last_used_at > FORGET_AFTER_S and target.breaker.status(now).until is None:
                del self._targets[key]


def _state_of(target: _Target, *, now: float, provider_is_degraded: bool) -> TargetState:
    status = target.breaker.status(now)
    calls, failures = target.recent.count(now)
    return TargetState(
        key=target.key,
        model=target.model,
        provider=target.provider,
        provider_is_degraded=provider_is_degraded,
        status=status,
        age_s=None if status.since is None else now - status.since,
        remaining_s=None if status.until is None else status.until - now,
        calls=calls,
        failures=failures,
        to_share=_block_to_share(target, now),
    )


def _block_to_share(target: _Target, now: float) -> SharedBlock | None:
    shared = target.breaker.to_share(now)
    if shared is None:
        return None
    cause, until = shared
    return SharedBlock(
        key=target.key,
        model=target.model,
        provider=target.provider,
        cause=cause,
        remaining_s=until - now,
    )


def _on_the_wall(moment: float | None, *, now: float, wall: datetime) -> datetime | None:
    return None if moment is None else wall + timedelta(seconds=moment - now)


def _order(target: _Target, status: BreakerStatus) -> tuple[int, float]:
    return _BEST_FIRST[status.state], target.breaker.badness()
