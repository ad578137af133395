"""How full each budget was when this process last heard of it."""

from datetime import datetime

UsageKey = tuple[int, str, datetime]
"""Budget id, subject (the end user, or empty) and period start."""


class BudgetUsage:
    """Nano-dollars settled plus reserved by balance. A hint for decisions; admission itself asks the ledger."""

    def __init__(self) -> None:
        self._used_nanos: dict[UsageKey, int] = {}

    def get(self, key: UsageKey) -> int:
        """What was last heard; 0 for a balance that nobody has touched."""
        return self._used_nanos.get(key, 0)

    def record(self, key: UsageKey, used_nanos: int) -> None:
        """Take in what the ledger answered or a poll read."""
        self._used_nanos[key] = used_nanos
