import logging
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from django.db import connection

from dispatch_app.models import Alert
from dispatch_app.rollups.drain import drain_deltas
from dispatch_app.rollups.partitions import count_days_ahead, create_partitions, drop_old_partitions
from tests.dispatch_app.rollups.deltas import add_delta

pytestmark = pytest.mark.usefixtures("figures")

TODAY = datetime.now(UTC).date()
LONG_AGO = date(2020, 5, 17)


def tables_of(day: date) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname = ANY(%s)", [names_of(day)]
        )
        return {name for (name,) in cursor.fetchall()}


def names_of(day: date) -> list[str]:
    return [f"{table}_{day:%Y%m%d}" for table in ("attempt", "dispatch")]


def create_days(first_day: date, days: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT create_log_partitions(%s, %s)", [first_day, days])


def drop_days(*days: date) -> None:
    with connection.cursor() as cursor:
        for day in days:
            for name in names_of(day):
                cursor.execute(f"DROP TABLE IF EXISTS {name}")


def insert_dispatch(day: date, status: str) -> None:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO dispatch (id, created_at, tenant_id, api_key_id, requested_model, status)"
            " VALUES (gen_random_uuid(), %s, 1, 1, 'auto', %s)",
            [at, status],
        )


def test_missing_days_are_created_fourteen_ahead_and_a_gap_counts() -> None:
    create_partitions(today=TODAY)
    assert count_days_ahead(today=TODAY) >= 14
    drop_days(TODAY + timedelta(days=9))
    assert count_days_ahead(today=TODAY) == 8

    assert create_partitions(today=TODAY) == 2

    assert count_days_ahead(today=TODAY) >= 14
    assert create_partitions(today=TODAY) == 0


def test_fewer_than_seven_days_ahead_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    create_partitions(today=TODAY)
    caplog.clear()
    create_partitions(today=TODAY)
    assert caplog.records == []

    drop_days(TODAY + timedelta(days=7))
    create_partitions(today=TODAY)

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "for 6 days ahead only" in record.getMessage()
    assert Alert.objects.get().details["days_left"] == 6


def test_a_missing_partition_of_today_is_no_days_at_all() -> None:
    assert count_days_ahead(today=LONG_AGO) == -1


def test_days_past_their_retention_are_dropped_and_no_others() -> None:
    create_days(LONG_AGO, 3)
    insert_dispatch(LONG_AGO, "succeeded")

    dropped = drop_old_partitions(today=LONG_AGO + timedelta(days=92), retention_days=90)

    assert sorted(dropped) == sorted(names_of(LONG_AGO) + names_of(LONG_AGO + timedelta(days=1)))
    assert tables_of(LONG_AGO) == set()
    assert tables_of(LONG_AGO + timedelta(days=2)) == set(names_of(LONG_AGO + timedelta(days=2)))
    drop_days(LONG_AGO + timedelta(days=2))


def test_a_day_with_deltas_or_open_rows_is_kept_until_they_are_done() -> None:
    create_days(LONG_AGO, 2)
    add_delta(hour=datetime(2020, 5, 17, 23, tzinfo=UTC))
    insert_dispatch(LONG_AGO + timedelta(days=1), "open")
    later = LONG_AGO + timedelta(days=100)

    assert drop_old_partitions(today=later, retention_days=90) == []

    drain_deltas()
    assert sorted(drop_old_partitions(today=later, retention_days=90)) == names_of(LONG_AGO)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dispatch SET status = 'expired'")
    assert sorted(drop_old_partitions(today=later, retention_days=90)) == names_of(
        LONG_AGO + timedelta(days=1)
    )


def test_a_removal_that_was_interrupted_is_finished_the_next_time() -> None:
    create_days(LONG_AGO, 1)
    later = LONG_AGO + timedelta(days=100)
    attempt, dispatch = names_of(LONG_AGO)
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE dispatch DETACH PARTITION {dispatch}")
    _interrupt_detaching(attempt)

    assert sorted(drop_old_partitions(today=later, retention_days=90)) == [attempt, dispatch]
    assert tables_of(LONG_AGO) == set()


def _interrupt_detaching(partition: str) -> None:
    """Leave it half detached: a reader in a transaction makes the second half wait, until it is cancelled."""
    names = {"dbname", "user", "password", "host", "port"}
    parameters = {key: value for key, value in connection.get_connection_params().items() if key in names}
    with psycopg.connect(**parameters) as reader, connection.cursor() as cursor:
        reader.execute("SELECT count(*) FROM attempt").fetchone()
        cursor.execute("SET statement_timeout = '300ms'")
        with pytest.raises(Exception, match="statement timeout"):
            cursor.execute(f"ALTER TABLE attempt DETACH PARTITION {partition} CONCURRENTLY")
        cursor.execute("SET statement_timeout = 0")
        reader.rollback()
    with connection.cursor() as cursor:
        cursor.execute("SELECT inhdetachpending FROM pg_inherits WHERE inhrelid = %s::regclass", [partition])
        assert cursor.fetchone() == (True,)


def test_keeping_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="one day at least"):
        drop_old_partitions(today=TODAY, retention_days=0)
