"""What is asked of the latency statistics: by the rules that are live or drafted, and by every model's hedges. Pure."""

from collections.abc import Iterable, Mapping

from dispatch_app.fleet.picture import SeriesKey, SharedPicture
from dispatch_app.snapshot.types import Snapshot
from policies_app.routing.codes import LatencyMeasure
from policies_app.routing.types import (
    HEDGE_PERCENTILE,
    HEDGE_WINDOW_S,
    Catalogue,
    LatencyQuery,
    LatencyReading,
    LatencySignal,
)


def watched_signals(snapshot: Snapshot) -> frozenset[LatencySignal]:
    """What the latency conditions of live policies and of drafts look at."""
    policies = (*snapshot.policies.values(), *snapshot.drafts.values())
    return frozenset(
        signal
        for policy in policies
        for rule in policy.compiled.rules
        for condition in rule.conditions
        if isinstance(signal := getattr(condition, "signal", None), LatencySignal)
    )


def hedge_query(model: str) -> LatencyQuery:
    """The figure by which a model's hedges go: how long its first byte hardly ever takes."""
    return LatencyQuery(
        model=model,
        measure=LatencyMeasure.FIRST_BYTE,
        percentile=HEDGE_PERCENTILE,
        window_s=HEDGE_WINDOW_S,
    )


def readings(
    queries: Iterable[LatencyQuery], *, catalogue: Catalogue, picture: SharedPicture
) -> Mapping[LatencyQuery, LatencyReading]:
    """The answers to `queries`, without those that rest on no call."""
    found: dict[LatencyQuery, LatencyReading] = {}
    for query in queries:
        model = catalogue.get(query.model)
        if model is not None:
            series: SeriesKey = (model.id, query.measure)
            reading = picture.reading(series, percentile=query.percentile, window_s=query.window_s)
            if reading is not None:
                found[query] = reading
    return found
