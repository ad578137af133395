"""Conditions on what changes from moment to moment: latency, quality, health, the clock, forecasts and shares."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies_app.routing.codes import BudgetScope, HealthState, LatencyMeasure, StickyBy, Weekday
from policies_app.routing.conditions import (
    BudgetForecast,
    Condition,
    HealthDegraded,
    LatencyAbove,
    QualityAtLeast,
    ShareOf,
    WithinHours,
)
from policies_app.routing.operands import OperandError
from policies_app.routing.types import FleetState, LatencyReading, Situation, TargetHealth
from tests.policies_app.routing.builders import CALM, NOW, a_budget, some_facts

SLOW = LatencyAbove(model="small", measure=LatencyMeasure.FIRST_BYTE, percentile=95, above_ms=1_000)
OFFICE = WithinHours(
    weekdays=(Weekday.MONDAY, Weekday.FRIDAY), starts="09:00", ends="17:30", zone="Europe/Berlin"
)
NIGHT = WithinHours(weekdays=(Weekday.SATURDAY,), starts="22:00", ends="06:00", zone="Europe/Berlin")
CANARY = ShareOf(name="canary", percent=10)


def fleet(**state: Any) -> Situation:
    return Situation(fleet=FleetState(**state))


def measured(value_ms: int, *, samples: int = 100, held: bool = False, penalty_ms: int = 0) -> Situation:
    return fleet(
        latency={SLOW.signal.query: LatencyReading(value_ms=value_ms, samples=samples)},
        holding=frozenset({SLOW.signal}) if held else frozenset(),
        cold_penalty_ms={"small": penalty_ms} if penalty_ms else {},
    )


def holds(condition: Condition, situation: Situation = CALM, now: datetime = NOW, **facts: Any) -> bool:
    return condition.holds(some_facts(**facts), situation, now)


@pytest.mark.parametrize(
    ("situation", "expected", "words"),
    [
        (measured(1_001), True, "it is 1001 ms"),
        (measured(1_000), False, "it is 1000 ms"),
        (measured(950, held=True), True, "it is 950 ms"),
        (measured(899, held=True), False, "it is 899 ms"),
        (measured(5_000, samples=19), False, "there are fewer than 20 calls to go by"),
        (measured(700, penalty_ms=400), True, "it is 1100 ms, with a cold start"),
        (measured(700, samples=1, penalty_ms=1_400), True, "it is 1400 ms, with a cold start"),
        (CALM, False, "there are fewer than 20 calls to go by"),
    ],
)
def test_latency_holds_above_its_bound_and_on_until_it_is_clearly_below(
    situation: Situation, expected: bool, words: str
) -> None:
    assert holds(SLOW, situation) is expected
    assert SLOW.actual(some_facts(), situation, NOW) == words


@given(st.lists(st.integers(1, 3_000), min_size=2, max_size=30))
def test_with_hysteresis_a_figure_that_swings_within_the_band_changes_nothing(figures: list[int]) -> None:
    held = False
    for value_ms in figures:
        now_held = holds(SLOW, measured(value_ms, held=held))
        if 900 <= value_ms <= 1_000:
            assert now_held is held
        held = now_held


@pytest.mark.parametrize(
    ("condition", "task", "expected"),
    [
        (QualityAtLeast(model="small", task="code", score_min=0.8), "chat", True),
        (QualityAtLeast(model="small", task="code", score_min=0.81), "chat", False),
        (QualityAtLeast(model="small", score_min=0.8), "code", True),
        (QualityAtLeast(model="small", score_min=0.1), "chat", False),
        (QualityAtLeast(model="small", score_min=0), None, False),
        (QualityAtLeast(model="mid", task="code", score_min=0), "code", False),
    ],
)
def test_quality_is_the_eval_score_of_a_model_on_a_task(
    condition: QualityAtLeast, task: str | None, expected: bool
) -> None:
    assert holds(condition, fleet(quality={("small", "code"): 0.8}), task=task) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (HealthDegraded(models=("small",)), True),
        (HealthDegraded(models=("mid", "small")), True),
        (HealthDegraded(models=("mid",)), False),
        (HealthDegraded(providers=("sandbox",)), True),
        (HealthDegraded(models=("mid",), providers=("other",)), False),
    ],
)
def test_health_is_degraded_if_any_of_those_named_is(condition: HealthDegraded, expected: bool) -> None:
    situation = fleet(
        targets={"small": TargetHealth(state=HealthState.OPEN)}, degraded_providers=frozenset({"sandbox"})
    )

    assert holds(condition, situation) is expected


@pytest.mark.parametrize(
    ("condition", "local", "expected"),
    [
        (OFFICE, "2026-06-01 09:00", True),
        (OFFICE, "2026-06-01 08:59:59", False),
        (OFFICE, "2026-06-01 17:29:59", True),
        (OFFICE, "2026-06-01 17:30", False),
        (OFFICE, "2026-06-02 12:00", False),
        (NIGHT, "2026-06-06 22:00", True),
        (NIGHT, "2026-06-07 05:59", True),
        (NIGHT, "2026-06-07 06:00", False),
        (NIGHT, "2026-06-07 23:00", False),
        (NIGHT, "2026-06-06 05:00", False),
        # The clocks go forward at 02:00 and back at 03:00.
        (NIGHT, "2026-03-29 03:30", True),
        (replace(NIGHT, weekdays=("sunday",), starts="01:30", ends="03:30"), "2026-03-29 03:15", True),
        (replace(NIGHT, weekdays=("sunday",), starts="02:00", ends="03:00"), "2026-10-25 02:30", True),
        (replace(NIGHT, weekdays=("saturday",), starts="00:00", ends="00:00"), "2026-06-06 23:59", True),
        (replace(NIGHT, weekdays=("saturday",), starts="00:00", ends="00:00"), "2026-06-07 00:00", False),
    ],
)
def test_a_window_is_local_time_and_belongs_to_the_day_on_which_it_starts(
    condition: WithinHours, local: str, expected: bool
) -> None:
    now = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)

    assert holds(condition, now=now) is expected


@settings(max_examples=300)
@given(
    st.integers(0, 365 * 1440 * 60).map(
        lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    ),
    st.sets(st.sampled_from(Weekday), min_size=1),
    st.tuples(st.integers(0, 1439), st.integers(0, 1439)),
    st.sampled_from(("UTC", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe", "Asia/Kolkata")),
)
def test_a_window_is_what_a_clock_on_the_wall_says(
    at: datetime, weekdays: set[Weekday], ends: tuple[int, int], zone: str
) -> None:
    starts, until = ends
    window = WithinHours(weekdays=tuple(weekdays), starts=_clock(starts), ends=_clock(until), zone=zone)
    wall = at.astimezone(ZoneInfo(zone))

    # The minutes of the week that the window covers, each weekday's from its own start on.
    length = (until - starts) % 1440 or 1440
    days = [list(Weekday).index(day) for day in weekdays]
    minute = wall.weekday() * 1440 + wall.hour * 60 + wall.minute
    covered = any((minute - day * 1440 - starts) % (7 * 1440) < length for day in days)

    assert holds(window, now=at) is covered


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def test_both_hours_of_the_night_on_which_clocks_go_back_are_in_the_window() -> None:
    window = WithinHours(weekdays=tuple(Weekday), starts="02:00", ends="03:00", zone="Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    assert holds(window, now=first)
    assert holds(window, now=first + timedelta(hours=1))
    assert not holds(window, now=first + timedelta(hours=2))


def course(*, used: int, elapsed: float) -> Situation:
    start = NOW - timedelta(days=30) * elapsed
    budget = replace(
        a_budget(used_nanos=used, limit_nanos=100),
        period_start=start,
        period_end=start + timedelta(days=30),
    )
    return Situation(budgets=(budget,))


@pytest.mark.parametrize(
    ("used", "elapsed", "expected"),
    [(50, 0.5, True), (49, 0.5, False), (10, 0.04, False), (5, 0.05, True), (100, 1.0, True)],
)
def test_a_forecast_takes_the_use_so_far_to_go_on_at_the_same_pace(
    used: int, elapsed: float, expected: bool
) -> None:
    condition = BudgetForecast(scope=BudgetScope.TENANT)

    assert holds(condition, course(used=used, elapsed=elapsed)) is expected


def test_without_a_period_nothing_is_forecast() -> None:
    condition = BudgetForecast(scope=BudgetScope.TENANT, projected_pct_min=1)
    situation = Situation(budgets=(a_budget(used_nanos=99, limit_nanos=100),))

    assert not holds(condition, situation)
    assert "no end" in condition.actual(some_facts(), situation, NOW)


def test_a_share_is_as_large_as_it_says_and_sticks_to_its_users() -> None:
    users = [f"user-{number}" for number in range(10_000)]

    drawn = [holds(CANARY, end_user=user) for user in users]

    assert 900 < drawn.count(True) < 1_100
    assert drawn == [holds(CANARY, end_user=user, draw=7) for user in users]


@pytest.mark.parametrize("percent", [0.5, 1, 25, 50, 99.5, 100])
def test_every_share_is_as_large_as_it_says(percent: float) -> None:
    share = replace(CANARY, percent=percent)

    drawn = sum(holds(share, end_user=f"user-{number}") for number in range(10_000))

    # Four standard deviations of a fair draw.
    assert abs(drawn - 100 * percent) <= 4 * (percent * (100 - percent)) ** 0.5


def test_a_share_that_grows_keeps_those_it_has() -> None:
    users = [f"user-{number}" for number in range(2_000)]
    small, large = CANARY, replace(CANARY, percent=30)

    assert all(holds(large, end_user=user) for user in users if holds(small, end_user=user))
    assert large.implies(large)
    assert small.implies(large)


def test_shares_of_different_names_are_independent() -> None:
    other = replace(CANARY, name="other")
    both = Counter(
        (holds(CANARY, end_user=str(number)), holds(other, end_user=str(number))) for number in range(20_000)
    )

    assert 100 < both[True, True] < 320


@pytest.mark.parametrize("sticky_by", [StickyBy.DISPATCH, StickyBy.END_USER])
def test_where_there_is_nobody_to_stick_to_each_request_is_drawn(sticky_by: StickyBy) -> None:
    condition = replace(CANARY, sticky_by=sticky_by)

    drawn = [holds(condition, end_user=None, draw=number) for number in range(5_000)]

    assert 420 < drawn.count(True) < 580


@pytest.mark.parametrize(
    ("sticky_by", "same"), [(StickyBy.API_KEY, {"api_key": "k"}), (StickyBy.TENANT, {"tenant": "t"})]
)
def test_a_share_sticks_to_what_it_says(sticky_by: StickyBy, same: dict[str, str]) -> None:
    condition = replace(CANARY, percent=50, sticky_by=sticky_by)

    drawn = {holds(condition, end_user=str(number), draw=number, **same) for number in range(50)}

    assert len(drawn) == 1


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: replace(SLOW, percentile=90), "percentile: must be one of 50, 95, 99"),
        (lambda: replace(SLOW, window_s=5), "window_s: must be an integer from 30 to 3600"),
        (lambda: replace(SLOW, hysteresis_pct=100), "hysteresis_pct: must be an integer from 0 to 99"),
        (HealthDegraded, "models: give at least one model or provider"),
        (lambda: replace(OFFICE, zone="Mars/Olympus"), "zone: “Mars/Olympus” is no time zone"),
        (lambda: replace(OFFICE, zone="../etc/passwd"), "zone: “../etc/passwd” is no time zone"),
        (lambda: replace(OFFICE, starts="9:00"), "starts: must be a time of day as HH:MM"),
        (lambda: replace(OFFICE, ends="24:00"), "ends: must be a time of day as HH:MM"),
        (lambda: replace(OFFICE, weekdays=()), "weekdays: give at least one"),
        (lambda: replace(CANARY, percent=0), "percent: must be a number above 0, at most 100"),
        (lambda: replace(CANARY, percent=0.25), "percent: has one decimal at most"),
        (lambda: replace(CANARY, percent=100.5), "percent: must be a number above 0, at most 100"),
        (lambda: QualityAtLeast(model="m", score_min=1.5), "score_min: must be a number from 0 to 1"),
        (
            lambda: BudgetForecast(scope="tenant", projected_pct_min=0),
            "projected_pct_min: must be an integer",
        ),
    ],
)
def test_a_bad_operand_is_refused_when_the_condition_is_built(build: Any, complaint: str) -> None:
    with pytest.raises(OperandError) as raised:
        build()

    assert str(raised.value).startswith(complaint)
