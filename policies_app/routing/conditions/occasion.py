"""Conditions that part requests by when they come, and by chance."""

from dataclasses import dataclass, field
from datetime import datetime, time
from hashlib import blake2b
from typing import ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from policies_app.routing.codes import StickyBy, Weekday
from policies_app.routing.conditions.figures import FigureCondition
from policies_app.routing.operands import OperandError, require_percent, require_text
from policies_app.routing.types import Facts, Situation

_WEEKDAYS = tuple(Weekday)
_DRAWS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WithinHours:
    """The local time in `zone` is on one of `weekdays`, from `starts` to just before `ends`, both as “HH:MM”.

    A window that ends before it starts goes on past midnight, and belongs to the day on which it starts. One that ends
    when it starts lasts the whole day.
    """

    kind: ClassVar[str] = "time"

    weekdays: tuple[Weekday, ...]
    starts: str
    ends: str
    zone: str

    clock: ZoneInfo = field(init=False, repr=False, compare=False)
    since: time = field(init=False, repr=False, compare=False)
    until: time = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.weekdays:
            raise OperandError("weekdays: give at least one")
        days = {Weekday(day) for day in self.weekdays}
        object.__setattr__(self, "weekdays", tuple(day for day in _WEEKDAYS if day in days))
        object.__setattr__(self, "since", _time_of_day(self.starts, "starts"))
        object.__setattr__(self, "until", _time_of_day(self.ends, "ends"))
        object.__setattr__(self, "clock", _zone(self.zone))

    def holds(self, facts: Facts, situation: Situation, now: datetime) -> bool:
        local = now.astimezone(self.clock)
        clock, day = local.time(), local.weekday()
        if self.since < self.until:
            return self.since <= clock < self.until and _WEEKDAYS[day] in self.weekdays
        # Past midnight, the window began on the day before.
        began_on = day if clock >= self.since else day - 1
        return (clock >= self.since or clock < self.until) and _WEEKDAYS[began_on] in self.weekdays

    def expected(self) -> str:
        """What must hold, in words."""
        days = "every day" if len(self.weekdays) == len(_WEEKDAYS) else ", ".join(self.weekdays)
        return f"it is {self.starts} to {self.ends} in {self.zone}, {days}"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request met instead, in words."""
        local = now.astimezone(self.clock)
        return f"it is {local:%H:%M} on {_WEEKDAYS[local.weekday()]}"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return (
            isinstance(other, WithinHours)
            and (self.starts, self.ends, self.zone) == (other.starts, other.ends, other.zone)
            and set(self.weekdays) <= set(other.weekdays)
        )

    def contradicts(self, other: object) -> bool:
        """Whether this one and `other` can never hold together."""
        return (
            isinstance(other, WithinHours)
            and self.zone == other.zone
            and self.since < self.until
            and other.since < other.until
            and (
                set(self.weekdays).isdisjoint(other.weekdays)
                or self.until <= other.since
                or other.until <= self.since
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareOf(FigureCondition):
    """The request is among `percent` percent, drawn by a stable hash of `name` and of what `sticky_by` says.

    Shares of one name are nested: whoever is in a smaller one is in the larger one too, so that a canary can grow. Where
    there is no end user to stick to, each request is drawn for itself.
    """

    kind: ClassVar[str] = "share"

    name: str
    percent: float
    sticky_by: StickyBy = StickyBy.END_USER

    drawn_below: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_text(self.name, "name")
        object.__setattr__(self, "percent", require_percent(self.percent, "percent"))
        object.__setattr__(self, "sticky_by", StickyBy(self.sticky_by))
        object.__setattr__(self, "drawn_below", round(self.percent * _DRAWS / 100))

    @property
    def subject(self) -> tuple[str, StickyBy]:
        """What the request is drawn by."""
        return self.name, self.sticky_by

    @property
    def bounds(self) -> tuple[float, float]:
        """Of so many draws."""
        return 0, self.drawn_below

    def figure(self, facts: Facts, situation: Situation, now: datetime) -> int:
        """Where the request was drawn."""
        digest = blake2b(f"{self.name}\0{self._stuck_to(facts)}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) % _DRAWS

    def expected(self) -> str:
        """What must hold, in words."""
        return f"the request is in the {self.percent:g} % share {self.name}, {_STICKS[self.sticky_by]}"

    def actual(self, facts: Facts, situation: Situation, now: datetime) -> str:
        """What the request met instead, in words."""
        return f"it was drawn at {100 * self.figure(facts, situation, now) / _DRAWS:.1f} %"

    def implies(self, other: object) -> bool:
        """Whether `other` holds wherever this one does."""
        return (
            isinstance(other, ShareOf)
            and (self.name, self.sticky_by) == (other.name, other.sticky_by)
            and self.percent <= other.percent
        )

    def contradicts(self, other: object) -> bool:
        """Never: shares of one name are nested, those of different names independent."""
        return False

    def _stuck_to(self, facts: Facts) -> str:
        match self.sticky_by:
            case StickyBy.END_USER if facts.end_user is not None:
                return f"{facts.tenant}\0{facts.end_user}"
            case StickyBy.API_KEY:
                return facts.api_key
            case StickyBy.TENANT:
                return facts.tenant
            case _:
                return str(facts.draw)


_STICKS = {
    StickyBy.END_USER: "by end user",
    StickyBy.API_KEY: "by API key",
    StickyBy.TENANT: "by tenant",
    StickyBy.DISPATCH: "request by request",
}


def _time_of_day(value: object, name: str) -> time:
    if not isinstance(value, str) or len(value) != len("HH:MM"):
        raise OperandError(f"{name}: must be a time of day as HH:MM")
    try:
        return time.fromisoformat(value)
    except ValueError as error:
        raise OperandError(f"{name}: must be a time of day as HH:MM") from error


def _zone(name: object) -> ZoneInfo:
    require_text(name, "zone")
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise OperandError(f"zone: “{name}” is no time zone") from error
