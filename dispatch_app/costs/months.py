"""A calendar month, as pages are asked for it."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Self

_FORM = re.compile(r"([0-9]{4})-([0-9]{2})")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Month:
    """A month of some year. Where it begins as an instant depends on the time zone."""

    year: int
    number: int

    @classmethod
    def of(cls, day: date) -> Self:
        """The month that a day lies in."""
        return cls(year=day.year, number=day.month)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The month of a text such as 2026-11.

        :raises ValueError: if there is no such month, or if it cannot have a neighbour.
        """
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError("A month looks like 2026-11.")
        month = cls(year=int(match[1]), number=int(match[2]))
        if not (1 <= month.number <= 12 and 1970 <= month.year <= 9998):
            raise ValueError("There is no such month.")
        return month

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    @property
    def first_day(self) -> date:
        return date(self.year, self.number, 1)

    @property
    def following(self) -> "Month":
        return Month.of(self.first_day + timedelta(days=31))

    @property
    def preceding(self) -> "Month":
        return Month.of(self.first_day - timedelta(days=1))

    @property
    def days(self) -> list[date]:
        """Its days in order."""
        count = (self.following.first_day - self.first_day).days
        return [self.first_day + timedelta(days=n) for n in range(count)]

    def begins_at(self, zone: tzinfo) -> datetime:
        """Its first instant in that zone, in UTC."""
        return day_begins_at(self.first_day, zone)

    def ends_at(self, zone: tzinfo) -> datetime:
        """The first instant after it, in UTC."""
        return self.following.begins_at(zone)


def day_begins_at(day: date, zone: tzinfo) -> datetime:
    """The first instant of a day in that zone, in UTC."""
    return datetime.combine(day, time.min, tzinfo=zone).astimezone(UTC)


def latest_months(*, last: Month, count: int) -> list[Month]:
    """`count` months up to `last`, latest first."""
    months = [last]
    while len(months) < count:
        months.append(months[-1].preceding)
    return months
