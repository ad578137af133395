"""The loops of one process: they start, outlive the database's absence, and say their last words."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime

import psycopg
import pytest

from dispatch_app.fleet import holder as holder_module
from dispatch_app.fleet.fleet import Fleet
from dispatch_app.fleet.holder import FleetHolder
from dispatch_app.fleet.watched import hedge_query
from tests.dispatch_app.fleet.processes import SMALL, Snapshots, Targets, make_report, make_snapshot

NOWHERE = "host=/nowhere dbname=none"


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holder_module, "ROUND_S", 0.02)
    monkeypatch.setattr(holder_module, "REBUILD_S", 0.02)
    monkeypatch.setattr(holder_module, "BACK_OFF_S", 0.02)


def make_holder(conninfo: str, *, is_loaded: bool = True) -> FleetHolder:
    fleet = Fleet(targets=Targets(), now=lambda: datetime.now(UTC))
    snapshots = Snapshots(current=make_snapshot(), is_loaded=is_loaded)
    return FleetHolder(conninfo=conninfo, fleet=fleet, snapshots=snapshots)


def samples(holder: FleetHolder) -> int:
    reading = holder.fleet.current.latency.get(hedge_query("small"))
    return 0 if reading is None else reading.samples


async def eventually(holds: Callable[[], bool], *, within_s: float = 5.0) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < within_s, "it did not happen in time"
        await asyncio.sleep(0.005)


async def test_a_holder_comes_back_after_the_database_was_away(conninfo):
    holder = make_holder(conninfo)
    await holder.start()
    holder.fleet.report(SMALL.model, make_report(100))
    await eventually(lambda: samples(holder) == 1)

    with psycopg.connect(conninfo, autocommit=True) as probe:
        probe.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'signalbox fleet' AND datname = current_database()"
        )
    holder.fleet.report(SMALL.model, make_report(100))

    await eventually(lambda: samples(holder) == 2)
    await holder.stop()


async def test_what_was_seen_last_is_told_at_the_stop(conninfo):
    one, other = make_holder(conninfo), make_holder(conninfo)
    await one.start()
    for _ in range(3):
        one.fleet.report(SMALL.model, make_report(100))
    await one.stop()

    await other.start()
    assert samples(other) == 3
    await other.stop()


async def test_without_a_database_a_process_starts_and_stops_all_the_same():
    holder = make_holder(NOWHERE)
    began = time.monotonic()

    await holder.start(patience_s=0.1)
    holder.fleet.report(SMALL.model, make_report(100))
    assert samples(holder) == 0
    await holder.stop()

    assert time.monotonic() - began < 2


async def test_without_a_snapshot_everything_is_exchanged_and_nothing_is_read_into_the_state(conninfo):
    holder = make_holder(conninfo, is_loaded=False)
    await holder.start()
    holder.fleet.report(SMALL.model, make_report(100))

    await eventually(lambda: bool(holder.fleet.picture.last_used_at))
    assert samples(holder) == 0

    holder._snapshots.is_loaded = True
    await eventually(lambda: samples(holder) == 1)
    await holder.stop()
