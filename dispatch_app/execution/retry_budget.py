"""How often a process may ask the same vendor again: a share of its successes, so that retries never become the load."""

SUCCESSES_PER_RETRY = 10
MOST_RETRIES = 10
RETRIES_PER_WINDOW = 3
WINDOW_S = 10.0


class RetryBudget:
    """A token bucket that successes fill, over a small floor that time fills.

    `spent` and `refused` count the retries that were taken, and those that were not to be had.
    """

    def __init__(self) -> None:
        self.spent = 0
        self.refused = 0
        self._successes = 0
        self._window_started_at = 0.0
        self._left_in_window = RETRIES_PER_WINDOW

    def earn(self) -> None:
        """Count a success: a tenth of a retry."""
        self._successes = min(MOST_RETRIES * SUCCESSES_PER_RETRY, self._successes + 1)

    def left(self, *, now: float) -> int:
        """How many retries may be taken at the monotonic time `now`."""
        self._turn_window(now)
        return self._left_in_window + self._successes // SUCCESSES_PER_RETRY

    def spend(self, *, now: float) -> bool:
        """Take one retry at the monotonic time `now`; False when there is none left."""
        if not self.left(now=now):
            self.refused += 1
            return False
        if self._left_in_window:
            self._left_in_window -= 1
        else:
            self._successes -= SUCCESSES_PER_RETRY
        self.spent += 1
        return True

    def _turn_window(self, now: float) -> None:
        if now - self._window_started_at >= WINDOW_S:
            self._window_started_at, self._left_in_window = now, RETRIES_PER_WINDOW
