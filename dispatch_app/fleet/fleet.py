"""What decisions need to know of the fleet, put together from what this process sees and what all of them know.

Performs no I/O. `current` is an immutable value that is swapped by reference, so reading it on a request costs nothing.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from dispatch_app.execution.ports import TargetReport
from dispatch_app.fleet.observations import Observations, first_byte_of, total_of
from dispatch_app.fleet.picture import SharedPicture
from dispatch_app.fleet.signals import look_at, name_of
from dispatch_app.fleet.warmth import cold_penalties, latest_uses
from dispatch_app.fleet.watched import answer, hedge_query, watched_signals
from dispatch_app.snapshot.types import Snapshot
from policies_app.routing.types import (
    CatalogueModel,
    FleetState,
    LatencyQuery,
    LatencyReading,
    LatencySignal,
    TargetHealth,
)


class TargetNews(Protocol):
    """How this process's targets fare; see `dispatch_app.execution.breakers`."""

    @property
    def changes(self) -> int:
        """Grows whenever `fleet_health` says something new."""

    def fleet_health(self) -> tuple[Mapping[str, TargetHealth], frozenset[str]]:
        """The models that are not healthy by name, and the providers that are degraded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """What the policies of a snapshot ask of the latency statistics."""

    snapshot: Snapshot
    signals: Mapping[str, LatencySignal]
    queries: frozenset[LatencyQuery]


class Fleet:
    """The fleet as one process knows it.

    Latencies, signals and warmth are what all processes know, and show with the next `rebuild`. Breakers are this
    process's own, and show at once.
    """

    def __init__(self, *, targets: TargetNews, now: Callable[[], datetime]) -> None:
        self.picture = SharedPicture()
        self._targets = targets
        self._now = now
        self._seen = Observations()
        self._being_told = Observations()
        self._watched: _Watched | None = None
        self._latency: Mapping[LatencyQuery, LatencyReading] = {}
        self._state = FleetState()
        self._changes_seen = -1

    @property
    def current(self) -> FleetState:
        """The state to decide by."""
        changes = self._targets.changes
        if changes != self._changes_seen:
            self._changes_seen = changes
            targets, degraded_providers = self._targets.fleet_health()
            self._state = replace(self._state, targets=targets, degraded_providers=degraded_providers)
        return self._state

    def report(self, model: CatalogueModel, report: TargetReport) -> None:
        """Note how an attempt at `model` went."""
        learned = self._state.latency.get(hedge_query(model.name)) if report.fault else None
        first_byte_ms = first_byte_of(report, learned_ms=None if learned is None else learned.value_ms)
        self._seen.observe(model.id, first_byte_ms=first_byte_ms, total_ms=total_of(report))
        if report.first_byte_ms is not None:
            self._seen.note_use(model.id, self._now())

    def tell(self) -> Observations:
        """What was seen since this was last called and `was_told`; a telling that failed is told again."""
        self._being_told.add(self._seen)
        self._seen = Observations()
        return self._being_told

    def was_told(self) -> None:
        """What `tell` gave out is known to all."""
        told = self._being_told.last_used_at
        self.picture.last_used_at = latest_uses(self.picture.last_used_at, told)
        self._being_told = Observations()

    @property
    def watched_signals(self) -> Iterable[str]:
        """The names of the signals that this process's policies look at."""
        return () if self._watched is None else self._watched.signals

    def look_at_signals(self) -> dict[str, bool]:
        """Which of the signals that somebody watches have changed sides, by name; what all know decides."""
        if self._watched is None:
            return {}
        held = self.picture.holding
        found = look_at(
            self._watched.signals,
            latency=self._state.latency,
            cold_penalty_ms=self._state.cold_penalty_ms,
            held=held,
        )
        return {name: holds for name, holds in found.items() if holds is not (name in held)}

    async def read_latencies(self, snapshot: Snapshot) -> None:
        """Answer anew what is asked of the latency statistics, and rebuild.

        A percentile over an hour of a busy model takes a millisecond, so requests have their turn after each.
        """
        found: dict[LatencyQuery, LatencyReading] = {}
        for query in self._watch(snapshot).queries:
            reading = answer(query, catalogue=snapshot.catalogue, picture=self.picture)
            if reading is not None:
                found[query] = reading
            await asyncio.sleep(0)
        self._latency = found
        self.rebuild(snapshot)

    def rebuild(self, snapshot: Snapshot) -> None:
        """Put the state of the moment together, with latencies as they were last read."""
        watched = self._watch(snapshot)
        last_used_at = latest_uses(
            self.picture.last_used_at, self._being_told.last_used_at, self._seen.last_used_at
        )
        holding = self.picture.holding
        self._state = replace(
            self._state,
            latency=self._latency,
            holding=frozenset(signal for name, signal in watched.signals.items() if name in holding),
            cold_penalty_ms=cold_penalties(
                snapshot.catalogue.values(), last_used_at=last_used_at, now=self._now()
            ),
            quality=snapshot.quality,
        )

    def _watch(self, snapshot: Snapshot) -> _Watched:
        if self._watched is None or self._watched.snapshot is not snapshot:
            signals = watched_signals(snapshot)
            self._watched = _Watched(
                snapshot=snapshot,
                signals={name_of(signal): signal for signal in signals},
                queries=frozenset(signal.query for signal in signals)
                | {hedge_query(model) for model in snapshot.catalogue},
            )
        return self._watched
