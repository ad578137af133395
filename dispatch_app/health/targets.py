"""What the Health page shows of each target: its state in every process, its traffic, its latency, whether it is warm."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from dispatch_app.execution.breaker import Cause
from dispatch_app.fleet.histogram import Histogram
from dispatch_app.fleet.picture import SLOT_S
from dispatch_app.fleet.warmth import is_cold
from dispatch_app.health.publication import FRESH_S
from dispatch_app.health.wording import WORST_FIRST, TargetView, describe, worst_state
from dispatch_app.models import ProcessLoad, TargetHealth
from policies_app.models import KillSwitch, Model
from policies_app.routing.codes import FaultClass, HealthState, KillScope

WINDOW_S = 300
FIRST_BYTES_SQL = """
SELECT model_id, bucket, sum(calls)::bigint FROM fleet_latency
 WHERE measure = 'first_byte' AND slot > floor(extract(epoch FROM now()) / %s) - %s
 GROUP BY model_id, bucket
"""
LAST_USES_SQL = "SELECT model_id, last_used_at FROM fleet_warmth WHERE last_used_at IS NOT NULL"

Place = tuple[str, str]
"""A credential and a region; both are empty where a provider has but one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstByte:
    """How long the first byte took in the last five minutes."""

    p50_ms: int
    p95_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCard:
    """One target. `is_known` says whether any process has called it in the last 15 minutes.

    Shares are of the last five minutes, None without a call; `is_cold` is None where nothing goes cold.
    """

    model: Model
    place: Place
    is_known: bool
    state: HealthState
    words: list[str]
    calls: int
    share_pct: float | None
    error_pct: float | None
    first_byte: FirstByte | None
    is_cold: bool | None
    switch: KillSwitch | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetOverview:
    """All targets, those that need a look first. `degraded_providers` are so in at least one process."""

    read_at: datetime
    processes: int
    in_flight: int
    degraded_providers: list[str]
    cards: list[TargetCard]

    @property
    def ailing(self) -> int:
        """How many targets are not healthy everywhere."""
        return sum(card.state is not HealthState.HEALTHY for card in self.cards)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Background:
    """What the cards of all models are made from."""

    read_at: datetime
    processes: int
    calls: int
    rows: Mapping[int, Sequence[TargetHealth]]
    first_bytes: Mapping[int, FirstByte]
    last_uses: Mapping[int, datetime]
    switches: Sequence[KillSwitch]


def read_fleet() -> FleetOverview:
    """The fleet as the processes that serve see it now."""
    [(read_at,)] = _rows_of("SELECT clock_timestamp()")
    fresh_since = read_at - timedelta(seconds=FRESH_S)
    rows = list(TargetHealth.objects.filter(seen_at__gt=fresh_since))
    loads = list(ProcessLoad.objects.filter(seen_at__gt=fresh_since))
    background = _Background(
        read_at=read_at,
        processes=len(loads),
        calls=sum(row.calls for row in rows),
        rows=_by_model(rows),
        first_bytes=_read_first_bytes(),
        last_uses=dict(_rows_of(LAST_USES_SQL)),
        switches=_read_switches(),
    )
    models = Model.objects.filter(enabled=True, provider__enabled=True).select_related("provider")
    cards = [
        card for model in models.order_by("provider__name", "name") for card in _cards_of(model, background)
    ]
    return FleetOverview(
        read_at=read_at,
        processes=background.processes,
        in_flight=sum(load.in_flight for load in loads),
        degraded_providers=sorted({row.provider for row in rows if row.provider_is_degraded}),
        cards=sorted(cards, key=lambda card: WORST_FIRST.index(card.state)),
    )


def _cards_of(model: Model, background: _Background) -> Iterator[TargetCard]:
    """One card for each credential and region that the model was called with, or one for all."""
    places: defaultdict[Place, list[TargetHealth]] = defaultdict(list)
    for row in background.rows.get(model.pk, ()):
        places[row.credential, row.region].append(row)
    for place, rows in sorted(places.items()) or [(("", ""), [])]:
        yield _card(model, place, rows, background)


def _card(model: Model, place: Place, rows: Sequence[TargetHealth], background: _Background) -> TargetCard:
    views = [_view(row, background.read_at) for row in rows]
    calls = sum(row.calls for row in rows)
    return TargetCard(
        model=model,
        place=place,
        is_known=bool(rows),
        state=worst_state(views),
        words=describe(views, processes=background.processes),
        calls=calls,
        share_pct=_percent(calls, background.calls),
        error_pct=_percent(sum(row.failures for row in rows), calls),
        first_byte=background.first_bytes.get(model.pk),
        is_cold=_is_cold(model, background),
        switch=next((switch for switch in background.switches if _stops(switch, model)), None),
    )


def _view(row: TargetHealth, now: datetime) -> TargetView:
    return TargetView(
        state=HealthState(row.state),
        cause=Cause(row.cause) if row.cause else None,
        remaining_s=None if row.until is None else max(0.0, (row.until - now).total_seconds()),
        is_learned=row.is_learned,
        is_being_probed=row.is_being_probed,
        last_fault=FaultClass(row.last_fault) if row.last_fault else None,
        last_wire_status=row.last_wire_status,
    )


def _by_model(rows: Sequence[TargetHealth]) -> Mapping[int, Sequence[TargetHealth]]:
    by_model: defaultdict[int, list[TargetHealth]] = defaultdict(list)
    for row in rows:
        by_model[row.model_id].append(row)
    return by_model


def _is_cold(model: Model, background: _Background) -> bool | None:
    if model.cold_after_s is None:
        return None
    return is_cold(model.cold_after_s, background.last_uses.get(model.pk), background.read_at)


def _stops(switch: KillSwitch, model: Model) -> bool:
    match switch.scope:
        case KillScope.EVERYTHING:
            return True
        case KillScope.PROVIDER:
            return switch.provider_id == model.provider_id
        case _:
            return switch.model_id == model.pk


def _read_switches() -> list[KillSwitch]:
    """The active switches that stop models for everybody, the widest first."""
    scopes = (KillScope.EVERYTHING, KillScope.PROVIDER, KillScope.MODEL)
    switches = KillSwitch.objects.active().filter(scope__in=scopes)
    return sorted(switches, key=lambda switch: scopes.index(KillScope(switch.scope)))


def _read_first_bytes() -> dict[int, FirstByte]:
    counts: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for model_id, bucket, calls in _rows_of(FIRST_BYTES_SQL, SLOT_S, WINDOW_S // SLOT_S):
        counts[model_id][bucket] = calls
    histograms = {model_id: Histogram(counts=buckets) for model_id, buckets in counts.items()}
    return {
        model_id: FirstByte(p50_ms=histogram.percentile_ms(50), p95_ms=histogram.percentile_ms(95))
        for model_id, histogram in histograms.items()
    }


def _percent(part: int, whole: int) -> float | None:
    return 100.0 * part / whole if whole else None


def _rows_of(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
