"""How often a process may ask a second target before the first has answered: at most one dispatch in twenty."""

DISPATCHES_PER_HEDGE = 20
MOST_HEDGES = 5
"""Most that can be saved up: a quiet night does not pay for a burst in the morning."""


class HedgeBudget:
    """Hedges as a share of the dispatches that could hedge. At no time have more been spent than that share.

    `spent` and `refused` count the hedges that were taken, and those that were not to be had.
    """

    def __init__(self) -> None:
        self.spent = 0
        self.refused = 0
        self._dispatches = 0

    def count(self) -> None:
        """Count a dispatch that could hedge, whether it does or not."""
        self._dispatches = min(MOST_HEDGES * DISPATCHES_PER_HEDGE, self._dispatches + 1)

    @property
    def left(self) -> int:
        """How many hedges may be taken."""
        return self._dispatches // DISPATCHES_PER_HEDGE

    def spend(self) -> bool:
        """Take one hedge; False when there is none left."""
        if not self.left:
            self.refused += 1
            return False
        self._dispatches -= DISPATCHES_PER_HEDGE
        self.spent += 1
        return True
