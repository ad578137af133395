"""Histograms of durations that merge by addition. Pure: no I/O, no clock.

Bucket `n` holds the durations above `GROWTH ** (n - 1)` and up to `GROWTH ** n` milliseconds, and stands for the one
duration that is `LARGEST_ERROR` away from both ends. So a percentile is never further than that from the exact one, but
for rounding to whole milliseconds, however many histograms it was merged from.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, log
from typing import Self

LARGEST_ERROR = 0.02
"""How far, as a share of the exact figure, a percentile may be off."""
LONGEST_MS = 3_600_000
"""Longer durations count as this one, shorter than a millisecond as one."""

GROWTH = (1 + LARGEST_ERROR) / (1 - LARGEST_ERROR)

_LOG_OF_GROWTH = log(GROWTH)


def bucket_of(duration_ms: int) -> int:
    """The bucket that a duration falls into."""
    return ceil(log(min(max(duration_ms, 1), LONGEST_MS)) / _LOG_OF_GROWTH)


def duration_of(bucket: int) -> int:
    """The duration, in milliseconds, that a bucket stands for."""
    return max(1, round(GROWTH**bucket * (1 - LARGEST_ERROR)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How many durations fell into each bucket. Adding two gives the histogram of all of their durations."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, durations_ms: Iterable[int]) -> Self:
        """The histogram of these durations."""
        counts: dict[int, int] = {}
        for duration_ms in durations_ms:
            bucket = bucket_of(duration_ms)
            counts[bucket] = counts.get(bucket, 0) + 1
        return cls(counts=counts)

    @classmethod
    def merge(cls, parts: Iterable[Self]) -> Self:
        """The sum of many."""
        counts: dict[int, int] = {}
        for part in parts:
            for bucket, count in part.counts.items():
                counts[bucket] = counts.get(bucket, 0) + count
        return cls(counts=counts)

    def __add__(self, other: Self) -> Self:
        return self.merge((self, other))

    @property
    def samples(self) -> int:
        """How many durations it holds."""
        return sum(self.counts.values())

    def percentile_ms(self, percentile: int) -> int:
        """The least duration that `percentile` percent of all do not exceed (the nearest rank).

        :raises ValueError: if it holds none.
        """
        missing = -(-percentile * self.samples // 100)
        for bucket in sorted(self.counts):
            missing -= self.counts[bucket]
            if missing <= 0:
                return duration_of(bucket)
        raise ValueError("An empty histogram has no percentiles.")
