"""Latencies held against their bounds, with hysteresis. The one place that says when a latency signal holds."""

from policies_app.routing.types import LatencyReading, LatencySignal


def measured_ms(signal: LatencySignal, reading: LatencyReading | None, *, cold_penalty_ms: int) -> int | None:
    """The figure that the signal goes by: the reading, and what a cold start adds; None without enough samples.

    Of a cold model that was not called enough, what the cold start alone takes is known.
    """
    if reading is None or reading.samples < signal.least_samples:
        return cold_penalty_ms or None
    return reading.value_ms + cold_penalty_ms


def exceeds(
    signal: LatencySignal, reading: LatencyReading | None, *, cold_penalty_ms: int, held: bool
) -> bool:
    """Whether the signal holds now, given whether it did when it was last looked at."""
    value_ms = measured_ms(signal, reading, cold_penalty_ms=cold_penalty_ms)
    if value_ms is None:
        return False
    if value_ms > signal.above_ms:
        return True
    return held and 100 * value_ms >= signal.above_ms * (100 - signal.hysteresis_pct)
