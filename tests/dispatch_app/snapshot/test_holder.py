import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import psycopg
import pytest
from asgiref.sync import sync_to_async

from dispatch_app.snapshot import holder as holder_module
from dispatch_app.snapshot.budget_usage import BudgetUsage
from dispatch_app.snapshot.holder import SnapshotHolder, SnapshotNotLoadedError
from dispatch_app.snapshot.loader import SnapshotLoader
from policies_app.routing.codes import BudgetAction, BudgetPeriod, KillScope
from policies_app.services.kill_switches import (
    acknowledgements,
    current_epoch,
    throw_kill_switch,
    wait_for_acknowledgement,
)
from tests.factories import make_budget, make_fleet, make_key, make_tenant


@asynccontextmanager
async def running_holder(conninfo: str, **options: object) -> AsyncIterator[SnapshotHolder]:
    holder = SnapshotHolder(conninfo=conninfo, **{"budget_usage": BudgetUsage()} | options)
    await holder.start()
    try:
        yield holder
    finally:
        await holder.stop()


async def eventually(condition: Callable[[], bool], *, within_s: float) -> float:
    """Seconds until `condition` held."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < within_s, "it did not happen in time"
        await asyncio.sleep(0.005)
    return time.monotonic() - began


def execute(conninfo: str, statement: str, *parameters: object) -> list[tuple]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        cursor = connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


async def test_an_edit_reaches_every_process_within_a_quarter_of_a_second(conninfo):
    await sync_to_async(make_fleet)()
    delays = []
    async with running_holder(conninfo) as one, running_holder(conninfo) as other:
        for _ in range(5):
            public_id = (await sync_to_async(make_key)()).row.public_id
            delays.append(
                await eventually(
                    lambda wanted=public_id: wanted in one.current.keys and wanted in other.current.keys,
                    within_s=5,
                )
            )

    assert statistics.median(delays) < 0.25


async def test_a_lost_notification_is_made_up_for_by_the_poll(conninfo):
    async with running_holder(conninfo) as holder:
        before = holder.current.epoch
        execute(conninfo, "UPDATE control_epoch SET value = value + 1")

        await eventually(lambda: holder.current.epoch == before + 1, within_s=2)


async def test_a_notification_alone_is_enough(conninfo, monkeypatch):
    monkeypatch.setattr(holder_module, "EPOCH_POLL_S", 60)
    async with running_holder(conninfo) as holder:
        for _ in range(5):
            epoch = holder.current.epoch
            await sync_to_async(make_tenant)()
            await eventually(lambda known=epoch: holder.current.epoch > known, within_s=5)


async def test_a_burst_of_edits_costs_few_loads_and_none_is_missed(conninfo):
    loader = SnapshotLoader()
    loads = []

    def load():
        loads.append(1)
        time.sleep(0.05)
        return loader.load()

    def edit():
        for _ in range(50):
            make_tenant()

    async with running_holder(conninfo, load=load) as holder:
        await sync_to_async(edit)()
        last = await sync_to_async(current_epoch)()

        await eventually(lambda: holder.current.epoch == last, within_s=5)
    assert len(loads) < 25


async def test_nothing_is_served_before_the_first_load():
    holder = SnapshotHolder(conninfo="host=127.0.0.1 port=1", budget_usage=BudgetUsage())
    await holder.start(patience_s=0.2)

    assert not holder.is_loaded
    with pytest.raises(SnapshotNotLoadedError):
        holder.current  # noqa: B018
    await holder.stop()


async def test_the_last_snapshot_stays_while_the_connection_is_away_and_later_edits_arrive(conninfo):
    async with running_holder(conninfo) as holder:
        before = holder.current
        execute(
            conninfo,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'signalbox snapshot' AND datname = current_database()",
        )
        assert holder.current is before
        issued = await sync_to_async(make_key)()

        await eventually(lambda: issued.row.public_id in holder.current.keys, within_s=5)


async def test_a_load_that_fails_leaves_the_last_snapshot_and_is_tried_again(conninfo, caplog):
    loader = SnapshotLoader()
    failures = []

    def load():
        if holder_ready and len(failures) < 2:
            failures.append(1)
            raise RuntimeError("unreadable")
        return loader.load()

    holder_ready = False
    async with running_holder(conninfo, load=load) as holder:
        holder_ready = True
        before = holder.current
        await sync_to_async(make_tenant)()
        await eventually(lambda: bool(failures), within_s=2)
        assert holder.current is before

        await eventually(lambda: holder.current.epoch > before.epoch, within_s=5)
    assert "Unable to bring the snapshot up to date" in caplog.text


async def test_every_process_acknowledges_the_epoch_of_a_kill_switch(conninfo):
    fleet = await sync_to_async(make_fleet)()
    async with running_holder(conninfo) as one, running_holder(conninfo) as other:
        await sync_to_async(throw_kill_switch)(
            scope=KillScope.MODEL, model=fleet.small, reason="wrong answers", author_name="ops"
        )
        epoch = await sync_to_async(current_epoch)()
        receipt = await sync_to_async(wait_for_acknowledgement)(epoch=epoch)

        assert receipt.acknowledged == receipt.total >= 2
        assert receipt.seconds is not None
        assert receipt.seconds < 0.5
        for holder in (one, other):
            assert [switch.model for switch in holder.current.kill_switches] == ["small"]


async def test_a_process_that_stops_is_no_longer_waited_for(conninfo):
    async with running_holder(conninfo) as holder:
        assert (holder.id,) in execute(conninfo, "SELECT id FROM serving_process")

    assert (holder.id,) not in execute(conninfo, "SELECT id FROM serving_process")


async def test_a_process_that_died_is_not_waited_for_and_is_forgotten(conninfo):
    execute(
        conninfo,
        "INSERT INTO serving_process VALUES (gen_random_uuid(), 'gone', 1, now(), 0, now(), now() - interval '61 s')",
    )
    receipt = await sync_to_async(acknowledgements)(1)
    assert receipt.total == 0

    async with running_holder(conninfo) as holder:
        assert execute(conninfo, "SELECT id FROM serving_process") == [(holder.id,)]


async def test_what_other_processes_spent_becomes_known(conninfo):
    tenant = await sync_to_async(make_tenant)()
    budget = await sync_to_async(make_budget)(
        tenant, action=BudgetAction.DOWNGRADE, period=BudgetPeriod.LIFETIME
    )
    await sync_to_async(make_key)(tenant)
    start = datetime(1970, 1, 1, tzinfo=UTC)
    usage = BudgetUsage()
    async with running_holder(conninfo, budget_usage=usage):
        execute(
            conninfo,
            "INSERT INTO budget_balance (budget_id, period_start, granted_nanos, settled_nanos, reserved_nanos)"
            " VALUES (%s, %s, 100, 30, 12)",
            budget.pk,
            start,
        )

        await eventually(lambda: usage.get((budget.pk, "", start)) == 42, within_s=3)
