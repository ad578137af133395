"""Calendar periods of budgets, in the tenant's time zone.

A month may begin on another day than the first, such as that of a contract; in months that are too short for it, on their
last one.

Each instant lies in exactly one period, whatever the clocks do: a period begins at the first instant of its calendar unit,
even where daylight saving skips or repeats midnight.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import assert_never

from policies_app.routing.codes import BudgetPeriod

LIFETIME_START = datetime(1970, 1, 1, tzinfo=UTC)
LIFETIME_END = datetime.max.replace(tzinfo=UTC)

_HOUR = timedelta(hours=1)


def period_start(*, period: BudgetPeriod, now: datetime, zone: tzinfo, month_day: int = 1) -> datetime:
    """Return the first instant, in UTC, of the period that holds `now` (an aware datetime).

    `month_day`, 1 to 31, is the day on which months begin.
    """
    local = now.astimezone(zone)
    match period:
        case BudgetPeriod.HOUR:
            return _hour_start(local)
        case BudgetPeriod.DAY | BudgetPeriod.WEEK | BudgetPeriod.MONTH:
            return _day_start(_first_day(period, local.date(), month_day), zone)
        case BudgetPeriod.LIFETIME:
            return LIFETIME_START
        case _:
            assert_never(period)


def period_end(*, period: BudgetPeriod, now: datetime, zone: tzinfo, month_day: int = 1) -> datetime:
    """Return the first instant, in UTC, after the period that holds `now`: where the next one begins."""
    match period:
        case BudgetPeriod.HOUR:
            return _next_hour(now.astimezone(zone))
        case BudgetPeriod.DAY | BudgetPeriod.WEEK | BudgetPeriod.MONTH:
            first = _first_day(period, now.astimezone(zone).date(), month_day)
            return _day_start(_next_first_day(period, first, month_day), zone)
        case BudgetPeriod.LIFETIME:
            return LIFETIME_END
        case _:
            assert_never(period)


def _first_day(period: BudgetPeriod, day: date, month_day: int) -> date:
    match period:
        case BudgetPeriod.WEEK:
            return day - timedelta(days=day.weekday())
        case BudgetPeriod.MONTH:
            this_month = _begin_of_month(day, month_day)
            return this_month if this_month <= day else _begin_of_month(_month_before(day), month_day)
        case _:
            return day


def _next_first_day(period: BudgetPeriod, first: date, month_day: int) -> date:
    match period:
        case BudgetPeriod.WEEK:
            return first + timedelta(days=7)
        case BudgetPeriod.MONTH:
            return _begin_of_month(_month_after(first), month_day)
        case _:
            return first + timedelta(days=1)


def _begin_of_month(day: date, month_day: int) -> date:
    """The day on which the month that begins in the calendar month of `day` does so."""
    last = _month_after(day).replace(day=1) - timedelta(days=1)
    return min(last, day.replace(day=1) + timedelta(days=month_day - 1))


def _month_before(day: date) -> date:
    return day.replace(day=1) - timedelta(days=1)


def _month_after(day: date) -> date:
    return day.replace(day=1) + timedelta(days=31)


def _day_start(day: date, zone: tzinfo) -> datetime:
    # Of a repeated midnight, fold 0 is the first; of a skipped one, it is the instant of the jump.
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def _hour_start(local: datetime) -> datetime:
    # The fold is kept, so that a repeated hour is an hour of its own.
    return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)


def _next_hour(local: datetime) -> datetime:
    start = _hour_start(local)
    # Where the clock is put back by half an hour (Lord Howe), one local hour lasts ninety minutes.
    for hours in (1, 2):
        following = _hour_start((start + hours * _HOUR).astimezone(local.tzinfo))
        if following > start:
            return following
    raise AssertionError("No local hour lasts two hours.")
