"""What the envelope still has room for, near its end."""

import pytest

from dispatch_app.execution.envelope import Envelope
from policies_app.routing.codes import Strategy
from policies_app.routing.types import RoutePlan
from tests.dispatch_app.execution.manual_clock import ManualClock

DEADLINE_MS = 300


@pytest.mark.parametrize(
    ("early_ms", "begins"),
    [pytest.param(10, True, id="in time"), pytest.param(1, False, id="woken too early")],
)
def test_what_a_timer_wakes_just_before_the_deadline_begins_nothing_more(
    early_ms: float, begins: bool
) -> None:
    clock = ManualClock()
    plan = RoutePlan(
        rule="default",
        strategy=Strategy.FAILOVER,
        candidates=(),
        deadline_ms=DEADLINE_MS,
        max_attempts=3,
    )
    envelope = Envelope(plan=plan, deadline_at=clock.at + DEADLINE_MS / 1000, clock=clock)

    clock.at += (DEADLINE_MS - early_ms) / 1000

    assert envelope.take(0) is begins
    assert (envelope.remaining_s > 0) is begins
