import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatch_app.fleet.histogram import LARGEST_ERROR, LONGEST_MS, Histogram, bucket_of, duration_of

durations = st.integers(min_value=1, max_value=LONGEST_MS)
many_durations = st.lists(durations, min_size=1, max_size=60)
histograms = st.lists(durations, max_size=20).map(Histogram.of)
ROUNDING_MS = 0.5


def exact_percentile(durations_ms: list[int], percentile: int) -> int:
    """The nearest rank, by sorting."""
    rank = -(-percentile * len(durations_ms) // 100)
    return sorted(durations_ms)[rank - 1]


@given(many_durations, st.integers(min_value=1, max_value=100))
def test_a_percentile_is_within_the_stated_error_of_the_exact_one(durations_ms, percentile):
    exact = exact_percentile(durations_ms, percentile)

    found = Histogram.of(durations_ms).percentile_ms(percentile)

    assert abs(found - exact) <= LARGEST_ERROR * exact * (1 + 1e-9) + ROUNDING_MS


def test_no_duration_is_told_further_off_than_stated():
    for duration_ms in [*range(1, 20_000), *range(20_000, LONGEST_MS + 1, 997), LONGEST_MS]:
        error_ms = abs(duration_of(bucket_of(duration_ms)) - duration_ms)
        assert error_ms <= LARGEST_ERROR * duration_ms * (1 + 1e-9) + ROUNDING_MS, duration_ms


def test_short_durations_are_told_exactly():
    assert [duration_of(bucket_of(duration_ms)) for duration_ms in range(1, 25)] == list(range(1, 25))


@given(histograms, histograms, histograms)
def test_merging_is_addition_in_any_order(one, other, third):
    assert one + other == other + one
    assert (one + other) + third == one + (other + third) == Histogram.merge([third, one, other])
    assert one + Histogram() == one


@given(st.lists(many_durations, min_size=1, max_size=6), st.integers(min_value=1, max_value=100))
def test_a_merged_histogram_is_that_of_all_durations(processes, percentile):
    merged = Histogram.merge(Histogram.of(durations_ms) for durations_ms in processes)

    everything = [duration_ms for durations_ms in processes for duration_ms in durations_ms]
    assert merged == Histogram.of(everything)
    assert merged.samples == len(everything)
    assert merged.percentile_ms(percentile) == Histogram.of(everything).percentile_ms(percentile)


def test_durations_out_of_range_count_as_the_nearest_in_it():
    histogram = Histogram.of([0, -5, 10 * LONGEST_MS])

    assert histogram == Histogram.of([1, 1, LONGEST_MS])


def test_an_empty_histogram_has_no_percentiles():
    with pytest.raises(ValueError, match="no percentiles"):
        Histogram().percentile_ms(95)
