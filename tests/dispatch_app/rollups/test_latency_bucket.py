import pytest
from django.db import connection

HIGHEST = 95


def _bucket(duration_ms: int) -> int:
    """Four to an octave: the highest bucket with 2^(bucket / 4) <= duration, in integers."""
    return min(HIGHEST, (max(duration_ms, 1) ** 4).bit_length() - 1)


@pytest.mark.django_db
def test_buckets_begin_where_a_quarter_of_an_octave_does() -> None:
    edges = {around for bucket in range(110) for around in _around(round(2 ** (bucket / 4)))}
    durations = sorted(edges | set(range(-1, 3_000)))

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT array_agg(latency_bucket(ms) ORDER BY ms) FROM unnest(%s::integer[]) AS ms", [durations]
        )
        [found] = cursor.fetchone()
        cursor.execute("SELECT latency_bucket(NULL)")
        [of_none] = cursor.fetchone()

    assert found == [_bucket(duration) for duration in durations]
    assert of_none == 0


def _around(duration_ms: int) -> range:
    return range(duration_ms - 1, duration_ms + 2)
