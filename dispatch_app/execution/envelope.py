"""The one bound on everything that a dispatch does: time, upstream calls and money, whatever the strategy."""

from dispatch_app.execution.ports import Clock
from policies_app.routing.types import RoutePlan

TIMERS_ARE_EARLY_S = 0.002
"""uvloop counts in whole milliseconds, so what waits for a deadline may wake before it; nothing is begun in that gap."""


class Envelope:
    """Retries, fallbacks, escalations, races, samples and judges all draw on it.

    `deadline_at` is on the clock of the event loop. Money counts at its worst case while a call runs, and at its cost
    afterwards.
    """

    def __init__(self, *, plan: RoutePlan, deadline_at: float, clock: Clock) -> None:
        self.deadline_at = deadline_at
        self._clock = clock
        self._attempts_left = plan.max_attempts
        self._nanos_left = plan.max_cost_nanos

    @property
    def attempts_left(self) -> int:
        """Upstream calls that may still be made."""
        return self._attempts_left

    @property
    def remaining_s(self) -> float:
        """Seconds to the deadline; none if they are too few to begin anything."""
        left_s = self.deadline_at - self._clock.monotonic()
        return left_s if left_s > TIMERS_ARE_EARLY_S else 0.0

    @property
    def is_spent(self) -> bool:
        """Whether nothing more can be asked of anybody."""
        return self._attempts_left <= 0 or self.remaining_s <= 0

    def covers(self, bound_nanos: int) -> bool:
        """Whether the money left covers a call that costs so much at worst."""
        return self._nanos_left is None or bound_nanos <= self._nanos_left

    def take(self, bound_nanos: int) -> bool:
        """Set one call aside; False if it does not fit."""
        if self.is_spent or not self.covers(bound_nanos):
            return False
        self._attempts_left -= 1
        self._move(-bound_nanos)
        return True

    def give_back(self, bound_nanos: int) -> None:
        """A call that was set aside is not made."""
        self._attempts_left += 1
        self._move(bound_nanos)

    def settle(self, bound_nanos: int, *, cost_nanos: int) -> None:
        """A call is over: what it did not cost is free again."""
        self._move(bound_nanos - cost_nanos)

    def _move(self, nanos: int) -> None:
        if self._nanos_left is not None:
            self._nanos_left += nanos
