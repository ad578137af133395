from datetime import UTC, datetime, timedelta

import pytest

from dispatch_app.fleet.observations import Observations, first_byte_of, total_of
from policies_app.routing.codes import FaultClass, LatencyMeasure
from tests.dispatch_app.fleet.processes import make_report

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fault", "first_byte_ms", "learned_ms", "counted_ms"),
    [
        # An answer counts by its first byte.
        (None, 300, 500, 300),
        # So does one that was cut short after it had begun.
        (FaultClass.SUPERSEDED, 300, 500, 300),
        (FaultClass.IDLE_TIMEOUT, 300, 500, 300),
        # Silence for longer than is usual counts as that long at least: hedges that win do not make the loser look fast.
        (FaultClass.SUPERSEDED, None, 500, 800),
        (FaultClass.CLIENT_DISCONNECTED, None, 500, 800),
        (FaultClass.DEADLINE_EXCEEDED, None, 500, 800),
        # A shorter one says nothing: the winner was fast.
        (FaultClass.SUPERSEDED, None, 900, None),
        (FaultClass.SUPERSEDED, None, None, None),
        (FaultClass.DEADLINE_EXCEEDED, None, None, None),
        # The vendor's own limit is long enough in any case.
        (FaultClass.FIRST_BYTE_TIMEOUT, None, None, 800),
        # Errors are not answers, however fast.
        (FaultClass.SERVER_ERROR, None, 500, None),
        (FaultClass.RATE_LIMITED, 3, 500, None),
        (FaultClass.UNREACHABLE, None, None, None),
    ],
)
def test_a_first_byte_counts_by_how_long_it_was_waited_for(fault, first_byte_ms, learned_ms, counted_ms):
    report = make_report(800, first_byte_ms=first_byte_ms, fault=fault)

    assert first_byte_of(report, learned_ms=learned_ms) == counted_ms


@pytest.mark.parametrize(
    ("fault", "counted_ms"),
    [
        (None, 800),
        (FaultClass.FIRST_BYTE_TIMEOUT, 800),
        (FaultClass.IDLE_TIMEOUT, 800),
        (FaultClass.SUPERSEDED, None),
        (FaultClass.CLIENT_DISCONNECTED, None),
        (FaultClass.SERVER_ERROR, None),
    ],
)
def test_a_total_counts_for_answers_and_for_those_that_took_too_long(fault, counted_ms):
    assert total_of(make_report(800, fault=fault)) == counted_ms


def test_observations_add_up():
    one, other = Observations(), Observations()
    one.observe(1, first_byte_ms=10, total_ms=20)
    one.note_use(1, NOW)
    other.observe(1, first_byte_ms=10, total_ms=None)
    other.note_use(1, NOW - timedelta(seconds=1))
    other.note_use(2, NOW)

    one.add(other)

    assert sorted((measure, calls) for (_, measure, _), calls in one.calls.items()) == [
        (LatencyMeasure.FIRST_BYTE, 2),
        (LatencyMeasure.TOTAL, 1),
    ]
    assert one.last_used_at == {1: NOW, 2: NOW}
