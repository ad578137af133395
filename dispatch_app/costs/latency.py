"""Percentiles from histograms whose buckets are those of the SQL function `latency_bucket`: four to an octave."""

import math
from collections.abc import Mapping


def percentile_ms(histogram: Mapping[int, int], *, percent: int) -> int | None:
    """The duration that `percent` of the counted ones do not exceed, to within 10 %; None if nothing was counted.

    `histogram` is the number of durations by bucket.
    """
    rank = math.ceil(sum(histogram.values()) * percent / 100)
    reached = 0
    for bucket in sorted(histogram):
        reached += histogram[bucket]
        if reached >= rank > 0:
            return round(_middle_ms(bucket))
    return None


def _middle_ms(bucket: int) -> float:
    return math.exp2((bucket + 0.5) / 4)
