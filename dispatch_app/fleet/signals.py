"""What latency signals are called among processes, and which of them hold. Pure."""

from collections.abc import Mapping

from policies_app.routing.latency import exceeds
from policies_app.routing.types import LatencyQuery, LatencyReading, LatencySignal


def name_of(signal: LatencySignal) -> str:
    """What processes call a signal among themselves: equal signals have equal names, and others have others."""
    query = signal.query
    return (
        f"{query.model}: {query.measure} p{query.percentile} of {query.window_s} s above {signal.above_ms} ms"
        f" by {signal.least_samples} calls, until {signal.hysteresis_pct} % below"
    )


def look_at(
    signals: Mapping[str, LatencySignal],
    *,
    latency: Mapping[LatencyQuery, LatencyReading],
    cold_penalty_ms: Mapping[str, int],
    held: frozenset[str],
) -> dict[str, bool]:
    """Which of `signals`, by their names, hold now, given the names of those that did when they were last looked at."""
    return {
        name: exceeds(
            signal,
            latency.get(signal.query),
            cold_penalty_ms=cold_penalty_ms.get(signal.query.model, 0),
            held=name in held,
        )
        for name, signal in signals.items()
    }
