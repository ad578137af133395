"""How often a process may ask the same vendor again: a share of its successes, so that retries never become the load."""

RETRIES_PER_SUCCESS = 0.1
MOST_RETRIES = 10.0
RETRIES_PER_WINDOW = 3
WINDOW_S = 10.0


class RetryBudget:
    """A token bucket that successes fill, over a small floor that time fills."""

    def __init__(self) -> None:
        self._tokens = 0.0
        self._window_started_at = 0.0
        self._left_in_window = RETRIES_PER_WINDOW

    def earn(self) -> None:
        """Count a success."""
        self._tokens = min(MOST_RETRIES, self._tokens + RETRIES_PER_SUCCESS)

    def spend(self, *, now: float) -> bool:
        """Take one retry at the monotonic time `now`; False when there is none left."""
        if now - self._window_started_at >= WINDOW_S:
            self._window_started_at, self._left_in_window = now, RETRIES_PER_WINDOW
        if self._left_in_window:
            self._left_in_window -= 1
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
