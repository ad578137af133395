from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies_app.routing.codes import BudgetPeriod
from policies_app.routing.periods import period_end, period_start

BERLIN = ZoneInfo("Europe/Berlin")
SAO_PAULO = ZoneInfo("America/Sao_Paulo")
HAVANA = ZoneInfo("America/Havana")
KOLKATA = ZoneInfo("Asia/Kolkata")
LORD_HOWE = ZoneInfo("Australia/Lord_Howe")
APIA = ZoneInfo("Pacific/Apia")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("period", "zone", "now", "start", "end"),
    [
        # Plain cases: the local month, the week from Monday, and the UTC day.
        (BudgetPeriod.MONTH, BERLIN, "2026-07-15 12:00", "2026-06-30 22:00", "2026-07-31 22:00"),
        (BudgetPeriod.MONTH, BERLIN, "2026-12-31 23:30", "2026-12-31 23:00", "2027-01-31 23:00"),
        (BudgetPeriod.MONTH, UTC, "2028-02-29 23:59", "2028-02-01 00:00", "2028-03-01 00:00"),
        (BudgetPeriod.WEEK, UTC, "2026-11-22 23:59", "2026-11-16 00:00", "2026-11-23 00:00"),
        (BudgetPeriod.WEEK, UTC, "2026-11-23 00:00", "2026-11-23 00:00", "2026-11-30 00:00"),
        (BudgetPeriod.DAY, UTC, "2026-11-23 00:00", "2026-11-23 00:00", "2026-11-24 00:00"),
        # Berlin changes at night: days of 23 and of 25 hours, and a month that loses an hour.
        (BudgetPeriod.DAY, BERLIN, "2026-03-29 12:00", "2026-03-28 23:00", "2026-03-29 22:00"),
        (BudgetPeriod.DAY, BERLIN, "2026-10-25 12:00", "2026-10-24 22:00", "2026-10-25 23:00"),
        (BudgetPeriod.MONTH, BERLIN, "2026-03-29 12:00", "2026-02-28 23:00", "2026-03-31 22:00"),
        (BudgetPeriod.WEEK, BERLIN, "2026-10-25 12:00", "2026-10-18 22:00", "2026-10-25 23:00"),
        # The second 02:30 of that night is in another hour than the first.
        (BudgetPeriod.HOUR, BERLIN, "2026-10-25 00:30", "2026-10-25 00:00", "2026-10-25 01:00"),
        (BudgetPeriod.HOUR, BERLIN, "2026-10-25 01:30", "2026-10-25 01:00", "2026-10-25 02:00"),
        # São Paulo skipped midnight: the day begins at one o'clock, at the instant of the jump.
        (BudgetPeriod.DAY, SAO_PAULO, "2018-11-04 12:00", "2018-11-04 03:00", "2018-11-05 02:00"),
        # And put the clock back at midnight: 23:30 comes twice, both in the old day.
        (BudgetPeriod.DAY, SAO_PAULO, "2019-02-17 02:30", "2019-02-16 02:00", "2019-02-17 03:00"),
        (BudgetPeriod.DAY, SAO_PAULO, "2019-02-17 03:00", "2019-02-17 03:00", "2019-02-18 03:00"),
        # Havana repeats midnight: the day begins with the first one.
        (BudgetPeriod.DAY, HAVANA, "2026-11-01 05:30", "2026-11-01 04:00", "2026-11-02 05:00"),
        # Hours begin at the half hour of UTC here.
        (BudgetPeriod.HOUR, KOLKATA, "2026-11-23 10:10", "2026-11-23 09:30", "2026-11-23 10:30"),
        # Changes of half an hour make a short and a long hour.
        (BudgetPeriod.HOUR, LORD_HOWE, "2026-10-03 15:40", "2026-10-03 15:30", "2026-10-03 16:00"),
        (BudgetPeriod.HOUR, LORD_HOWE, "2026-04-04 15:10", "2026-04-04 14:00", "2026-04-04 15:30"),
        # Samoa had no 30 December 2011.
        (BudgetPeriod.DAY, APIA, "2011-12-30 09:00", "2011-12-29 10:00", "2011-12-30 10:00"),
        (BudgetPeriod.LIFETIME, BERLIN, "2026-07-15 12:00", "1970-01-01 00:00", "9999-12-31 23:59:59.999999"),
    ],
)
def test_a_period_follows_the_calendar_of_its_zone(period, zone, now, start, end):
    assert period_start(period=period, now=utc(now), zone=zone) == utc(start)
    assert period_end(period=period, now=utc(now), zone=zone) == utc(end)


@pytest.mark.parametrize(
    ("month_day", "zone", "now", "start", "end"),
    [
        (15, UTC, "2026-11-14 23:59", "2026-10-15 00:00", "2026-11-15 00:00"),
        (15, UTC, "2026-11-15 00:00", "2026-11-15 00:00", "2026-12-15 00:00"),
        (15, UTC, "2026-12-31 12:00", "2026-12-15 00:00", "2027-01-15 00:00"),
        (15, UTC, "2027-01-01 12:00", "2026-12-15 00:00", "2027-01-15 00:00"),
        # Months that are too short for the day begin on their last one; the next begins on its own day again.
        (31, UTC, "2026-02-28 00:00", "2026-02-28 00:00", "2026-03-31 00:00"),
        (31, UTC, "2026-02-27 23:59", "2026-01-31 00:00", "2026-02-28 00:00"),
        (30, UTC, "2028-03-01 12:00", "2028-02-29 00:00", "2028-03-30 00:00"),
        # Where the clock changes in between, and on the day itself.
        (15, BERLIN, "2026-04-01 12:00", "2026-03-14 23:00", "2026-04-14 22:00"),
        (25, BERLIN, "2026-10-25 00:30", "2026-10-24 22:00", "2026-11-24 23:00"),
        # São Paulo skipped the midnight at which the month would have begun; Samoa the whole day.
        (4, SAO_PAULO, "2018-11-04 03:00", "2018-11-04 03:00", "2018-12-04 02:00"),
        (30, APIA, "2011-12-30 09:59", "2011-11-30 10:00", "2011-12-30 10:00"),
        (30, APIA, "2011-12-30 10:00", "2011-12-30 10:00", "2012-01-29 10:00"),
    ],
)
def test_a_month_begins_on_its_day_or_on_the_last_that_there_is(month_day, zone, now, start, end):
    month = {"period": BudgetPeriod.MONTH, "zone": zone, "month_day": month_day}

    assert period_start(now=utc(now), **month) == utc(start)
    assert period_end(now=utc(now), **month) == utc(end)


@given(
    period=st.sampled_from(list(BudgetPeriod)),
    month_day=st.integers(1, 31),
    zone=st.sampled_from([BERLIN, SAO_PAULO, HAVANA, KOLKATA, LORD_HOWE, APIA]),
    now=st.datetimes(datetime(2005, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_every_instant_lies_in_exactly_one_period(period, month_day, zone, now):
    start = period_start(period=period, now=now, zone=zone, month_day=month_day)
    end = period_end(period=period, now=now, zone=zone, month_day=month_day)

    assert start <= now < end
    assert period_start(period=period, now=start, zone=zone, month_day=month_day) == start
    assert (
        period_end(period=period, now=end - timedelta(microseconds=1), zone=zone, month_day=month_day) == end
    )
    if period is BudgetPeriod.MONTH:
        assert timedelta(days=27) <= end - start < timedelta(days=32)
    if period is not BudgetPeriod.LIFETIME:
        assert period_start(period=period, now=end, zone=zone, month_day=month_day) == end
