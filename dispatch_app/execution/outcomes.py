"""Counts calls and failures over the last while. Pure: time comes in with every call."""

from collections import deque
from dataclasses import dataclass


@dataclass(slots=True)
class _Slot:
    number: int
    calls: int = 0
    failures: int = 0


class Outcomes:
    """Calls and failures of the last `window_s`, exact to a slot, and how many failures came in a row."""

    def __init__(self, *, window_s: int, slot_s: int = 1) -> None:
        self.consecutive_failures = 0
        self._slot_s = slot_s
        self._length = window_s // slot_s
        self._slots: deque[_Slot] = deque()

    def add(self, *, now: float, failed: bool) -> None:
        """Count a call that ended now."""
        self.consecutive_failures = self.consecutive_failures + 1 if failed else 0
        number = self._forget(now)
        if not self._slots or self._slots[-1].number != number:
            self._slots.append(_Slot(number))
        slot = self._slots[-1]
        slot.calls += 1
        slot.failures += failed

    def count(self, now: float) -> tuple[int, int]:
        """Calls, and how many of them failed."""
        self._forget(now)
        return sum(slot.calls for slot in self._slots), sum(slot.failures for slot in self._slots)

    def _forget(self, now: float) -> int:
        """Drop the slots that the window has left; answer the number of the slot that it is now."""
        number = int(now // self._slot_s)
        while self._slots and self._slots[0].number <= number - self._length:
            self._slots.popleft()
        return number
