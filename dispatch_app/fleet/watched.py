"""What is asked of the latency statistics: by the rules that are live or drafted, and by every model's hedges. Pure."""

from dispatch_app.fleet.picture import SharedPicture
from dispatch_app.snapshot.types import Snapshot
from policies_app.routing.codes import LatencyMeasure
from policies_app.routing.conditions import LatencyAbove
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
        condition.signal
        for policy in policies
        for rule in policy.compiled.rules
        for condition in rule.conditions
        if isinstance(condition, LatencyAbove)
    )


def hedge_query(model: str) -> LatencyQuery:
    """The figure by which a model's hedges go: how long its first byte hardly ever takes."""
    return LatencyQuery(
        model=model,
        measure=LatencyMeasure.FIRST_BYTE,
        percentile=HEDGE_PERCENTILE,
        window_s=HEDGE_WINDOW_S,
    )


def answer(query: LatencyQuery, *, catalogue: Catalogue, picture: SharedPicture) -> LatencyReading | None:
    """The figure asked for; None if the model is not known or was not called."""
    model = catalogue.get(query.model)
    if model is None:
        return None
    return picture.reading((model.id, query.measure), percentile=query.percentile, window_s=query.window_s)
