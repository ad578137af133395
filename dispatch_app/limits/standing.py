"""Where a rate limit stands. Pure.

A limit per minute is a bucket that holds one minute's worth and refills evenly, which is the generic cell rate algorithm
(GCRA) seen from its other side. A limit at once is a number of slots. For both, `used` is what is not to be had.
"""

import math
from dataclasses import dataclass, replace

from dispatch_app.snapshot.types import ServedRateLimit
from policies_app.routing.codes import RateLimitKind

MINUTE_S = 60.0
SLOT_WAIT_S = 1.0
"""When a slot is free again nobody knows; this is a good time to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One limit at one moment."""

    limit: ServedRateLimit
    used: float

    @property
    def remaining(self) -> int:
        """Whole units that are to be had at once; half a unit is rounding."""
        return max(0, math.floor(self.limit.most - self.used + 0.5))

    @property
    def reset_s(self) -> float:
        """Seconds until all of it is to be had, if nobody takes any."""
        return self.used * self._interval_s

    def wait_s(self, amount: int) -> float:
        """Seconds until `amount` is to be had, if nobody takes any."""
        if is_at_once(self.limit):
            return SLOT_WAIT_S
        return max(0.0, self.used + amount - self.limit.most) * self._interval_s

    def after(self, seconds: float) -> "Standing":
        """The same later, nobody having taken any."""
        if is_at_once(self.limit):
            return self
        return replace(self, used=max(0.0, self.used - seconds / self._interval_s))

    @property
    def _interval_s(self) -> float:
        """Seconds in which one unit comes back."""
        return MINUTE_S / self.limit.most


def is_at_once(limit: ServedRateLimit) -> bool:
    """Whether what is taken of `limit` has to be given back."""
    return limit.kind is RateLimitKind.CONCURRENT_DISPATCHES


def amount_of(limit: ServedRateLimit, *, tokens: int) -> int:
    """How much a request of `tokens` takes of `limit`: never more than there can be, so that a full bucket covers it."""
    return min(tokens, limit.most) if limit.kind is RateLimitKind.TOKENS_PER_MINUTE else 1
