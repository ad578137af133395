"""What an address asks a cost page for. Whatever there is none of is a 404."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import TypeVar
from urllib.parse import urlencode

from django.http import Http404, HttpRequest

from dispatch_app.costs.dispatches import Cursor, DispatchFilter
from dispatch_app.costs.months import Month, day_begins_at

T = TypeVar("T")
_YES_OR_NO = {"yes": True, "no": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A month, or one day of it."""

    month: Month
    day: date | None = None

    def begins_at(self, zone: tzinfo) -> datetime:
        """Its first instant in that zone."""
        return self.month.begins_at(zone) if self.day is None else day_begins_at(self.day, zone)

    def ends_at(self, zone: tzinfo) -> datetime:
        """The first instant after it in that zone."""
        if self.day is None:
            return self.month.ends_at(zone)
        return day_begins_at(self.day + timedelta(days=1), zone)


def month_asked_for(request: HttpRequest, *, this_month: Month) -> Month:
    """The month that the address names, else this one."""
    return _asked_for(request, "month", Month.parse) or this_month


def stretch_asked_for(request: HttpRequest, *, this_month: Month) -> Stretch:
    """The day that the address names, else its month."""
    day = _asked_for(request, "day", _parse_day)
    if day is None:
        return Stretch(month=month_asked_for(request, this_month=this_month))
    return Stretch(month=Month.of(day), day=day)


def filter_asked_for(request: HttpRequest, *, stretch: Stretch, zone: tzinfo) -> DispatchFilter:
    """The dispatches that the address wants to see."""
    return DispatchFilter(
        since=stretch.begins_at(zone),
        until=stretch.ends_at(zone),
        status=_text(request, "status"),
        model=_text(request, "model"),
        task=_text(request, "task"),
        end_user=_text(request, "user"),
        strategy=_text(request, "strategy"),
        validated=_YES_OR_NO.get(_text(request, "validated")),
    )


def cursor_asked_for(request: HttpRequest) -> Cursor | None:
    """Where in the log the address wants to go on, None for its newest end."""
    return _asked_for(request, "before", Cursor.parse)


def query_with(request: HttpRequest, **changes: object) -> str:
    """The address's query with some values changed, and those left out that are None."""
    query: dict[str, object] = {**request.GET.dict(), **changes}
    return urlencode({name: value for name, value in query.items() if value is not None})


def _text(request: HttpRequest, name: str) -> str:
    # PostgreSQL refuses NUL in a text, and so no row can hold one.
    return request.GET.get(name, "").replace("\x00", "\ufffd")


def _asked_for(request: HttpRequest, name: str, parse: Callable[[str], T]) -> T | None:
    text = request.GET.get(name)
    try:
        return parse(text) if text else None
    except (ValueError, OverflowError) as error:
        raise Http404(f"There is no such {name}.") from error


def _parse_day(text: str) -> date:
    day = date.fromisoformat(text)
    Month.parse(f"{day:%Y-%m}")
    return day
