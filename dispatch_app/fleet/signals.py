"""Latencies against their bounds, with hysteresis. Pure."""

from collections.abc import Mapping

from policies_app.routing.types import LatencyQuery, LatencyReading, LatencySignal


def name_of(signal: LatencySignal) -> str:
    """What processes call a signal among themselves: equal signals have equal names, and others have others."""
    query = signal.query
    return (
        f"{query.model}: {query.measure} p{query.percentile} of {query.window_s} s above {signal.above_ms} ms"
        f" by {signal.least_samples} calls, until {signal.hysteresis_pct} % below"
    )


def holds(signal: LatencySignal, reading: LatencyReading | None, *, cold_penalty_ms: int, held: bool) -> bool:
    """Whether the signal holds now, given whether it did when it was last looked at."""
    if reading is None or reading.samples < signal.least_samples:
        return False
    value_ms = reading.value_ms + cold_penalty_ms
    if value_ms > signal.above_ms:
        return True
    return held and 100 * value_ms >= signal.above_ms * (100 - signal.hysteresis_pct)


def look_at(
    signals: Mapping[str, LatencySignal],
    *,
    latency: Mapping[LatencyQuery, LatencyReading],
    cold_penalty_ms: Mapping[str, int],
    held: frozenset[str],
) -> dict[str, bool]:
    """Which of `signals`, by their names, hold now, given the names of those that did when they were last looked at."""
    return {
        name: holds(
            signal,
            latency.get(signal.query),
            cold_penalty_ms=cold_penalty_ms.get(signal.query.model, 0),
            held=name in held,
        )
        for name, signal in signals.items()
    }
