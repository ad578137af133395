from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.costs.charts import HEIGHT, SERIES_SHOWN, TIME_LINE, day_chart, span
from dispatch_app.costs.latency import percentile_ms
from dispatch_app.costs.months import Month, latest_months

DAYS = Month(year=2026, number=2).days
NAMES = {number: f"model-{number}" for number in range(20)}
costs = st.dictionaries(
    st.tuples(st.sampled_from(DAYS), st.integers(0, 12)), st.integers(0, 10**15), max_size=40
)


@given(nanos=costs)
def test_segments_stack_without_a_gap_and_stay_inside_the_picture(nanos: dict[tuple[date, int], int]) -> None:
    chart = day_chart(days=DAYS, nanos=nanos, names=NAMES)

    assert [bar.day for bar in chart.bars] == DAYS
    for bar in chart.bars:
        assert bar.total_nanos == sum(cost for (day, _), cost in nanos.items() if day == bar.day)
        assert sum(segment.nanos for segment in bar.segments) == bar.total_nanos
        foot = float(HEIGHT)
        for segment in bar.segments:
            assert segment.y + segment.height == pytest.approx(foot, abs=0.02)
            foot = segment.y
        assert foot >= -0.02


def test_the_dearest_models_come_first_and_the_many_share_a_colour() -> None:
    nanos = {(DAYS[0], number): 1_000 - number for number in range(1, 10)}

    chart = day_chart(days=DAYS, nanos=nanos, names=NAMES)

    assert [series.name for series in chart.series] == [
        *(f"model-{number}" for number in range(1, SERIES_SHOWN + 1)),
        "Others",
    ]
    assert chart.bars[0].by_series[0] == 1_000 - 7 + 1_000 - 8 + 1_000 - 9


@pytest.mark.parametrize(
    ("nanos", "top"), [(1, 4), (2_230, 2_400), (2_400, 2_400), (2_401, 3_200), (99_999, 100_000)]
)
def test_the_scale_ends_at_a_round_amount_just_above_the_dearest_day(nanos: int, top: int) -> None:
    chart = day_chart(days=DAYS, nanos={(DAYS[0], 1): nanos}, names=NAMES)

    assert [line.nanos for line in chart.grid] == [top, top * 3 // 4, top // 2, top // 4, 0]


def test_a_month_without_spend_has_an_empty_chart() -> None:
    chart = day_chart(days=DAYS, nanos={}, names=NAMES)

    assert chart.is_empty
    assert chart.series == ()


@given(
    start_ms=st.integers(0, 10**6),
    latency_ms=st.none() | st.integers(0, 10**6),
    first_byte_ms=st.none() | st.integers(0, 10**6),
    length_ms=st.integers(0, 10**6),
)
def test_an_attempt_lies_within_the_time_line(
    start_ms: int, latency_ms: int | None, first_byte_ms: int | None, length_ms: int
) -> None:
    placed = span(start_ms=start_ms, latency_ms=latency_ms, first_byte_ms=first_byte_ms, length_ms=length_ms)

    assert placed.x >= 0
    assert placed.width > 0
    assert placed.x + placed.width <= TIME_LINE + 0.2
    assert placed.first_byte is None or 0 <= placed.first_byte <= TIME_LINE
    assert placed.is_running == (latency_ms is None)


def test_attempts_follow_each_other_on_the_time_line() -> None:
    first = span(start_ms=0, latency_ms=250, first_byte_ms=None, length_ms=1_000)
    second = span(start_ms=250, latency_ms=750, first_byte_ms=100, length_ms=1_000)

    assert (first.x, first.width) == (0, 250)
    assert (second.x, second.width, second.first_byte) == (250, 750, 350)


def test_percentiles_come_from_the_histogram() -> None:
    histogram = {40: 90, 60: 9, 80: 1}

    assert percentile_ms(histogram, percent=50) == pytest.approx(2**10, rel=0.1)
    assert percentile_ms(histogram, percent=95) == pytest.approx(2**15, rel=0.1)
    assert percentile_ms(histogram, percent=100) == pytest.approx(2**20, rel=0.1)
    assert percentile_ms({}, percent=50) is None


def test_months_follow_each_other_over_the_turn_of_a_year() -> None:
    december = Month.parse("2026-12")

    assert str(december.following) == "2027-01"
    assert december.following.preceding == december
    assert [str(month) for month in latest_months(last=Month.parse("2027-02"), count=4)] == [
        "2027-02", "2027-01", "2026-12", "2026-11",
    ]  # fmt: skip
    assert len(Month.parse("2028-02").days) == 29


@pytest.mark.parametrize(
    "text",
    ["2026-13", "2026-00", "0000-01", "9999-12", "2026-1", "\u0662\u0660\u0662\u0666-\u0660\u0661", "x"],
)
def test_what_is_no_month_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="month"):
        Month.parse(text)
