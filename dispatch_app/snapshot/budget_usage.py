"""How much of each budget is used, as far as this process knows. For pressure only: the ledger alone decides what fits."""

from collections.abc import Iterable, Mapping
from datetime import datetime

UsageKey = tuple[int, str, datetime]
"""Budget id, subject (the end user of a budget for each separately, else empty) and start of the period."""

MOST_KNOWN = 20_000


class BudgetUsage:
    """Settled plus reserved nano-dollars by budget, subject and period.

    The ledger's answers are recorded as they come. What other processes use arrives with the next refresh.
    """

    def __init__(self) -> None:
        self._used_nanos: dict[UsageKey, int] = {}

    def get(self, key: UsageKey, default: int = 0) -> int:
        """Return what is used, or `default` for a budget that nothing is known of."""
        return self._used_nanos.get(key, default)

    def record(self, key: UsageKey, used_nanos: int) -> None:
        """Note what an answer of the ledger said. The budgets used longest ago are forgotten first."""
        used = self._used_nanos
        used.pop(key, None)
        used[key] = used_nanos
        if len(used) > MOST_KNOWN:
            del used[next(iter(used))]

    def latest_keys(self, count: int) -> list[UsageKey]:
        """Return the keys recorded last, latest first."""
        return [key for key, _ in zip(reversed(self._used_nanos), range(count), strict=False)]

    def refresh(self, *, used_nanos: Mapping[UsageKey, int], current: Iterable[tuple[int, datetime]]) -> None:
        """Take over polled balances, and forget periods that are none of `current` (budget id and start)."""
        running = frozenset(current)
        merged = {key: used for key, used in self._used_nanos.items() if (key[0], key[2]) in running}
        merged.update(used_nanos)
        self._used_nanos = merged
