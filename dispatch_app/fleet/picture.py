"""What all processes together know of the fleet, as this one last read it. Pure: time comes in with every call."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dispatch_app.fleet.histogram import Histogram
from policies_app.routing.codes import LatencyMeasure
from policies_app.routing.types import LatencyReading

SLOT_S = 10
LONGEST_WINDOW_S = 3_600
KEPT_SLOTS = (LONGEST_WINDOW_S + 600) // SLOT_S

SeriesKey = tuple[int, LatencyMeasure]
"""Model id and measure."""

NEVER = datetime.fromtimestamp(0, tz=UTC)


def slot_of(at: datetime) -> int:
    """The slot that holds an instant: tens of seconds since 1970."""
    return int(at.timestamp()) // SLOT_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """All calls of one model in one slot, by one measure."""

    number: int
    series: SeriesKey
    calls: Histogram


class SharedPicture:
    """Latencies by model, measure and slot, when each model was last used, and which signals hold, as of `read_at`.

    `read_at` is the database's time. Windows end there, so processes that have read the same say the same.
    """

    def __init__(self) -> None:
        self.read_at = NEVER
        self.last_used_at: Mapping[int, datetime] = {}
        self.holding: frozenset[str] = frozenset()
        self._series: dict[SeriesKey, dict[int, Histogram]] = {}

    @property
    def first_changing_slot(self) -> int:
        """The first slot that may have changed since `read_at`: a statement may commit after its slot has ended."""
        return slot_of(self.read_at) - 1

    def take(self, slots: Iterable[Slot], *, last_used_at: Mapping[int, datetime], read_at: datetime) -> None:
        """Take over the slots that may have changed, each whole, oldest first; forget those that no window reaches."""
        self.read_at = read_at
        self.last_used_at = last_used_at
        for slot in slots:
            self._series.setdefault(slot.series, {})[slot.number] = slot.calls
        self._forget_before(slot_of(read_at) - KEPT_SLOTS)

    def histogram(self, series: SeriesKey, *, window_s: int) -> Histogram:
        """The calls of the last `window_s`, and of the rest of the slot in which that begins."""
        slots = self._series.get(series)
        if slots is None:
            return Histogram()
        first = slot_of(self.read_at) - window_s // SLOT_S
        return Histogram.merge(calls for number, calls in slots.items() if number >= first)

    def reading(self, series: SeriesKey, *, percentile: int, window_s: int) -> LatencyReading | None:
        """A percentile of the last `window_s`; None without a call."""
        histogram = self.histogram(series, window_s=window_s)
        samples = histogram.samples
        if not samples:
            return None
        return LatencyReading(value_ms=histogram.percentile_ms(percentile), samples=samples)

    def _forget_before(self, first: int) -> None:
        for series, slots in list(self._series.items()):
            # They came in order of time, or nearly so.
            while slots and (oldest := next(iter(slots))) < first:
                del slots[oldest]
            if not slots:
                del self._series[series]
