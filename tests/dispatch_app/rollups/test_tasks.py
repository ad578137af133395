from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from dispatch_app.rollups import tasks
from dispatch_app.rollups.schedule import BEAT_SCHEDULE
from routerproject.celery import app
from tests.dispatch_app.rollups.deltas import add_delta, rows_of

pytestmark = pytest.mark.usefixtures("figures")


@pytest.fixture
def elsewhere() -> Iterator[psycopg.Connection]:
    names = {"dbname", "user", "password", "host", "port"}
    parameters = {key: value for key, value in connection.get_connection_params().items() if key in names}
    with psycopg.connect(**parameters, autocommit=True) as other:
        yield other


def test_every_scheduled_task_exists_and_never_piles_up() -> None:
    app.loader.import_default_modules()

    for entry in app.conf.beat_schedule.values():
        assert entry["task"] in app.tasks
        assert entry["options"]["expires"] <= entry["schedule"].total_seconds()
    assert BEAT_SCHEDULE.items() <= app.conf.beat_schedule.items()


@pytest.mark.parametrize(
    "task", [tasks.drain, tasks.sweep, tasks.keep_partitions, tasks.forget_idempotency_keys]
)
def test_a_task_takes_arguments_of_another_version_and_runs_twice(task: object) -> None:
    task(since_another_version="x")  # type: ignore[operator]
    task()  # type: ignore[operator]


def test_a_drain_leaves_the_work_to_the_one_that_runs_already(elsewhere: psycopg.Connection) -> None:
    add_delta()
    elsewhere.execute("SELECT pg_advisory_lock(hashtext('signalbox.drain'))")

    tasks.drain()
    assert len(rows_of("rollup_delta")) == 1

    elsewhere.execute("SELECT pg_advisory_unlock(hashtext('signalbox.drain'))")
    tasks.drain()
    assert rows_of("rollup_delta") == []


def test_a_task_frees_its_lock(elsewhere: psycopg.Connection) -> None:
    tasks.drain()

    (is_free,) = elsewhere.execute("SELECT pg_try_advisory_lock(hashtext('signalbox.drain'))").fetchone()  # type: ignore[misc]
    assert is_free
