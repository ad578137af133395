"""Geometry of the charts: what goes where in an SVG picture. Colours, text and size are the style sheet's business."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

SERIES_SHOWN = 6
"""So many models have a colour of their own; the others share one."""

HEIGHT = 1_000
COLUMN = 100
BAR = 72
_NICE_TENTHS = (10, 15, 20, 25, 30, 40, 50, 60, 80, 100)
_GRID_LINES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a chart. `key` is None for all that have none of their own."""

    key: int | None
    name: str
    place: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A piece of a bar."""

    series: Series
    nanos: int
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One day: its column, and its segments from the bottom up."""

    day: date
    x: int
    bar_x: float
    total_nanos: int
    segments: tuple[Segment, ...]

    @property
    def by_series(self) -> dict[int, int]:
        """Nano-dollars by the place of the series."""
        return {segment.series.place: segment.nanos for segment in self.segments}


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLine:
    y: float
    nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayChart:
    """Spend by day, stacked by model. Bars stand on `height`, and y grows downwards."""

    width: int
    height: int
    series: tuple[Series, ...]
    bars: tuple[Bar, ...]
    grid: tuple[GridLine, ...]

    @property
    def is_empty(self) -> bool:
        return not any(bar.total_nanos for bar in self.bars)


def day_chart(
    *, days: Sequence[date], nanos: Mapping[tuple[date, int], int], names: Mapping[int, str]
) -> DayChart:
    """A chart of what each model (by its id, named by `names`) cost on each of `days`; the dearest models come first."""
    series = _series(nanos, names)
    stacks = [_stack(day, series, nanos) for day in days]
    top = _round_up(max((sum(stack.values()) for stack in stacks), default=0))
    return DayChart(
        width=COLUMN * len(days),
        height=HEIGHT,
        series=tuple(series),
        bars=tuple(
            _bar(place, day, stack, series, top)
            for place, (day, stack) in enumerate(zip(days, stacks, strict=True))
        ),
        grid=tuple(
            GridLine(y=HEIGHT * (_GRID_LINES - n) / _GRID_LINES, nanos=top * n // _GRID_LINES)
            for n in range(_GRID_LINES, -1, -1)
        ),
    )


def _series(nanos: Mapping[tuple[date, int], int], names: Mapping[int, str]) -> list[Series]:
    totals: dict[int, int] = {}
    for (_, model_id), cost in nanos.items():
        totals[model_id] = totals.get(model_id, 0) + cost
    ranked = sorted(
        (model_id for model_id in totals if totals[model_id]), key=lambda key: (-totals[key], key)
    )
    series = [
        Series(key=model_id, name=names[model_id], place=place)
        for place, model_id in enumerate(ranked[:SERIES_SHOWN], start=1)
    ]
    if len(ranked) > SERIES_SHOWN:
        series.append(Series(key=None, name="Others", place=0))
    return series


def _stack(day: date, series: Sequence[Series], nanos: Mapping[tuple[date, int], int]) -> dict[int, int]:
    """Nano-dollars of one day by the place of the series."""
    stack = {one.place: nanos.get((day, one.key), 0) for one in series if one.key is not None}
    known = {one.key for one in series}
    others = sum(cost for (at, model_id), cost in nanos.items() if at == day and model_id not in known)
    return {**stack, 0: others}


def _bar(place: int, day: date, stack: Mapping[int, int], series: Sequence[Series], top: int) -> Bar:
    segments = []
    y = float(HEIGHT)
    for one in series:
        height = HEIGHT * stack[one.place] / top if top else 0.0
        y -= height
        if height:
            segments.append(
                Segment(series=one, nanos=stack[one.place], y=round(y, 2), height=round(height, 2))
            )
    return Bar(
        day=day,
        x=COLUMN * place,
        bar_x=COLUMN * place + (COLUMN - BAR) / 2,
        total_nanos=sum(stack.values()),
        segments=tuple(segments),
    )


def _round_up(nanos: int) -> int:
    """The least round amount that is not below `nanos` and that the grid divides into round amounts."""
    if nanos <= 0:
        return 0
    magnitude = int(10 ** max(math.floor(math.log10(nanos / _GRID_LINES)), 0))
    tops = (_GRID_LINES * tenths * magnitude // 10 for tenths in _NICE_TENTHS)
    return next(top for top in tops if top >= nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Where an attempt lies on the time line of its dispatch, in thousandths of its length.

    `first_byte` is None if no byte came; `is_running` if the attempt has no end yet.
    """

    x: float
    width: float
    first_byte: float | None
    is_running: bool


_LEAST_WIDTH = 4
TIME_LINE = 1_000


def span(*, start_ms: int, latency_ms: int | None, first_byte_ms: int | None, length_ms: int) -> Span:
    """Place one attempt on a time line of `length_ms`; an attempt without a latency reaches to its end."""
    length = max(length_ms, 1)
    end_ms = length if latency_ms is None else start_ms + latency_ms
    x = min(TIME_LINE * start_ms / length, TIME_LINE - _LEAST_WIDTH)
    width = min(max(TIME_LINE * (end_ms - start_ms) / length, _LEAST_WIDTH), TIME_LINE - x)
    first_byte = None if first_byte_ms is None else TIME_LINE * (start_ms + first_byte_ms) / length
    return Span(
        x=round(x, 1),
        width=round(width, 1),
        first_byte=None if first_byte is None else round(min(first_byte, TIME_LINE), 1),
        is_running=latency_ms is None,
    )


def ticks_ms(length_ms: int) -> list[int]:
    """Marks for the start, the quarters and the end of a time line."""
    return [round(length_ms * n / 4) for n in range(5)]
