import subprocess
import sys
import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection, transaction

from dispatch_app.rollups.drain import drain_deltas, measure_lag, recompute_dirty
from dispatch_app.rollups.reconcile import CHECKS
from dispatch_app.rollups.statements import execute, fetch
from tests.dispatch_app.rollups.deltas import NOON, add_delta, add_many_deltas, rows_of, total
from tests.factories import make_tenant

pytestmark = pytest.mark.usefixtures("figures")

GRAINS = ("rollup_hour", "rollup_day", "rollup_month")


def assert_grains_agree() -> None:
    for check in ("days_differ_from_hours", "months_differ_from_days", "latencies_differ_from_hours"):
        assert check in CHECKS
        assert fetch(check) == []


def test_deltas_of_one_kind_become_one_row_of_each_grain() -> None:
    for _ in range(3):
        add_delta(cost_nanos=7)

    assert drain_deltas() == 3

    for table in GRAINS:
        (row,) = rows_of(table)
        assert (row["cost_nanos"], row["dispatches"], row["input_tokens"]) == (21, 3, 30)
    assert rows_of("rollup_delta") == []
    assert rows_of("rollup_dirty") == []


def test_a_late_delta_is_added_to_the_hour_in_which_it_happened() -> None:
    add_delta(cost_nanos=7)
    drain_deltas()
    add_delta(hour=NOON + timedelta(days=3), cost_nanos=100)
    drain_deltas()

    add_delta(cost_nanos=5)
    drain_deltas()

    assert {row["hour"]: row["cost_nanos"] for row in rows_of("rollup_hour")} == {
        NOON: 12,
        NOON + timedelta(days=3): 100,
    }
    assert {row["day"]: row["cost_nanos"] for row in rows_of("rollup_day")} == {
        date(2026, 3, 10): 12,
        date(2026, 3, 13): 100,
    }
    assert [row["cost_nanos"] for row in rows_of("rollup_month")] == [112]


@pytest.mark.parametrize(
    ("zone", "hour", "day"),
    [
        ("UTC", datetime(2026, 3, 31, 23, tzinfo=UTC), date(2026, 3, 31)),
        ("Europe/Berlin", datetime(2026, 3, 31, 22, tzinfo=UTC), date(2026, 4, 1)),  # summer: UTC+2
        ("Europe/Berlin", datetime(2026, 3, 28, 22, tzinfo=UTC), date(2026, 3, 28)),  # winter: UTC+1
        ("America/Los_Angeles", datetime(2026, 4, 1, 6, tzinfo=UTC), date(2026, 3, 31)),
        ("Asia/Kolkata", datetime(2026, 3, 31, 18, tzinfo=UTC), date(2026, 3, 31)),  # begins at 23:30
        ("Asia/Kolkata", datetime(2026, 3, 31, 19, tzinfo=UTC), date(2026, 4, 1)),
    ],
)
def test_an_hour_belongs_to_the_tenants_own_day_and_month(zone: str, hour: datetime, day: date) -> None:
    tenant = make_tenant(time_zone=zone)
    add_delta(tenant_id=tenant.pk, hour=hour)

    drain_deltas()

    assert [row["day"] for row in rows_of("rollup_day")] == [day]
    assert [row["month"] for row in rows_of("rollup_month")] == [day.replace(day=1)]


def test_moving_a_tenant_to_another_zone_rewrites_no_closed_day() -> None:
    tenant = make_tenant(time_zone="UTC")
    late = datetime(2026, 3, 31, 23, tzinfo=UTC)
    add_delta(tenant_id=tenant.pk, hour=late, cost_nanos=1)
    drain_deltas()

    tenant.time_zone = "Europe/Berlin"
    tenant.save()
    add_delta(tenant_id=tenant.pk, hour=late, cost_nanos=2)
    add_delta(tenant_id=tenant.pk, hour=late, task="other", cost_nanos=4)
    drain_deltas()

    costs = {row["day"]: row["cost_nanos"] for row in rows_of("rollup_day")}
    assert costs == {date(2026, 3, 31): 3, date(2026, 4, 1): 4}
    assert_grains_agree()


def test_a_zone_that_the_database_does_not_know_counts_as_utc_and_stops_nobody() -> None:
    tenant = make_tenant(time_zone="Mars/Olympus_Mons")
    add_delta(tenant_id=tenant.pk)
    add_delta(tenant_id=tenant.pk + 1)

    assert drain_deltas() == 2
    assert {row["day"] for row in rows_of("rollup_day")} == {NOON.date()}


def test_only_answered_dispatches_enter_the_histogram() -> None:
    add_delta(latency_bucket=30, dispatches=2)
    add_delta(latency_bucket=30)
    add_delta(latency_bucket=0, outcome="refused")
    add_delta(latency_bucket=None, outcome="continued", dispatches=0)

    drain_deltas()

    assert [(row["bucket"], row["dispatches"]) for row in rows_of("rollup_latency")] == [(30, 3)]
    assert_grains_agree()


def test_several_drains_at_once_count_every_delta_once() -> None:
    add_many_deltas(12_000)
    expected = total("rollup_delta")
    failures: list[BaseException] = []

    def drain() -> None:
        try:
            drain_deltas()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain_deltas()

    assert failures == []
    assert [total(table) for table in GRAINS] == [expected] * 3
    assert [total(table, "dispatches") for table in GRAINS] == [12_000] * 3
    assert_grains_agree()


DRAIN_FOREVER = """
import django; django.setup()
from django.conf import settings
from django.db import connections
connections["default"].settings_dict["NAME"] = {name!r}
from dispatch_app.rollups import drain
drain.CHUNK_DELTAS = 20
print("ready", flush=True)
while True:
    drain.drain_deltas()
"""


def test_drains_that_are_killed_lose_and_repeat_nothing() -> None:
    add_many_deltas(10_000)
    expected = total("rollup_delta")
    script = DRAIN_FOREVER.format(name=connection.settings_dict["NAME"])

    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            left = len(rows_of("rollup_delta"))
            while left and len(rows_of("rollup_delta")) == left:
                time.sleep(0.005)
            process.kill()
    assert 0 < len(rows_of("rollup_delta")) < 10_000

    deadline = time.monotonic() + 20
    while rows_of("rollup_delta") and time.monotonic() < deadline:
        drain_deltas()
    recompute_dirty()
    assert [total(table) for table in GRAINS] == [expected] * 3
    assert_grains_agree()


def test_a_recompute_that_fails_is_left_to_the_next_drain() -> None:
    add_delta(cost_nanos=7)

    with psycopg.connect(**_connection_parameters()) as other, connection.cursor() as cursor:
        other.execute("LOCK TABLE rollup_day IN SHARE MODE")
        cursor.execute("SET lock_timeout = '100ms'")
        with pytest.raises(OperationalError):
            drain_deltas()
        cursor.execute("RESET lock_timeout")
        other.rollback()
    assert [total(table) for table in GRAINS] == [7, 0, 0]

    recompute_dirty()

    assert [total(table) for table in GRAINS] == [7, 7, 7]


def test_a_change_that_commits_during_a_recompute_is_recomputed_again() -> None:
    add_delta(cost_nanos=1)
    drain_deltas()
    add_delta(cost_nanos=2)
    drained = threading.Event()

    with transaction.atomic():
        (mark,) = _marked_again()
        drainer = threading.Thread(target=_drain_and_close, args=(drained,))
        drainer.start()
        time.sleep(0.2)
        assert not drained.is_set()
        values = {"tenant_ids": [mark["tenant_id"]], "first_days": [mark["first_day"]]}
        execute("recompute_days", values)
    drainer.join()

    assert [total(table) for table in GRAINS] == [3, 3, 3]


def _marked_again() -> list[dict[str, object]]:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO rollup_dirty VALUES ('day', 1, '2026-03-10', now())")
    return fetch("claim_dirty", {"grain": "day", "most": 5})


def _drain_and_close(drained: threading.Event) -> None:
    drain_deltas()
    drained.set()
    connection.close()


def test_the_lag_names_what_is_pending_and_how_far_the_figures_go() -> None:
    before = datetime.now(UTC)
    drain_deltas()
    assert measure_lag().pending == 0
    assert measure_lag().figures_until >= before

    add_delta()
    add_delta()

    lag = measure_lag()
    assert lag.pending == 2
    assert before <= lag.figures_until <= datetime.now(UTC)
    waited_since = lag.figures_until
    assert measure_lag().figures_until == waited_since

    drain_deltas()
    assert measure_lag().figures_until > waited_since


def test_the_watermark_stands_still_while_another_drain_holds_deltas() -> None:
    drain_deltas()
    add_delta()
    until = measure_lag().figures_until

    with psycopg.connect(**_connection_parameters()) as other:
        other.execute("SELECT FROM rollup_delta FOR UPDATE")
        assert drain_deltas() == 0
        assert measure_lag().figures_until == until
        other.rollback()

    assert drain_deltas() == 1
    assert measure_lag().figures_until > until


def _connection_parameters() -> dict[str, Any]:
    names = {"dbname", "user", "password", "host", "port"}
    return {key: value for key, value in connection.get_connection_params().items() if key in names}
