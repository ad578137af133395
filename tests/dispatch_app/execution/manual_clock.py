"""A clock that goes on when a test says so."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.dispatch_app.routing_values import NOW


@dataclass
class ManualClock:
    """Implements `dispatch_app.execution.ports.Clock`: `at` is in seconds, and may be set."""

    at: float = 500.0

    def monotonic(self) -> float:
        return self.at

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.at - 500.0)
