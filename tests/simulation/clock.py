"""Time, in two senses."""

from datetime import datetime, timedelta

from tests.simulation.loop import SimulatedLoop


class WallClock:
    """Implements `dispatch_app.execution.ports.Clock`: the time of day can be set, the other cannot."""

    def __init__(self, *, loop: SimulatedLoop, epoch: datetime) -> None:
        self._loop = loop
        self._epoch = epoch
        self._ahead_s = 0.0

    def monotonic(self) -> float:
        return self._loop.time()

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=round(self._loop.now + self._ahead_s, 6))

    def set_ahead(self, by_s: float) -> None:
        """Set the time of day, as an administrator or NTP does, to so much ahead of the true one."""
        self._ahead_s = by_s
