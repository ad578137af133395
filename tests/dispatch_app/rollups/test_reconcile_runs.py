import asyncio
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.models import Alert, ReconcileDifference, ReconcileRun
from dispatch_app.rollups.drain import drain_deltas
from dispatch_app.rollups.reconcile import compare
from dispatch_app.rollups.reconcile_runs import reconcile
from policies_app.routing.codes import DispatchStatus
from tests.dispatch_app.ledger.books import a_dispatch, a_settlement, an_attempt, an_outcome, make_budget
from tests.dispatch_app.rollups.test_reconcile import executed, ledger
from tests.factories import make_tenant

pytestmark = pytest.mark.usefixtures("figures")

__all__ = ["ledger"]

NAMED = {
    "log": ("UPDATE attempt SET cost_nanos = cost_nanos + 1", "tenant", "cost_nanos 322 ≠ 321"),
    "budget": ("UPDATE budget_balance SET settled_nanos = settled_nanos + 1", "balance", "321 ≠ 322"),
    "figures": ("UPDATE rollup_hour SET cost_nanos = cost_nanos + 1", "tenant", "321 ≠ 322"),
}


def rows(query: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


@sync_to_async
def run(*, reads_all: bool = False) -> list[str]:
    return [str(difference) for difference in reconcile(reads_all=reads_all).differences]


async def one_call(ledger: PostgresLedger, *, days_ago: int = 0, cost_nanos: int = 321) -> None:
    """A dispatch that is settled and in the figures, of a tenant with a budget."""
    tenant = await sync_to_async(make_tenant)()
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=50_000)
    created_at = timezone.now() - timedelta(days=days_ago)
    await executed(f"SELECT create_log_partitions(current_date - {days_ago + 1}, {days_ago + 2})")
    dispatch = a_dispatch(tenant_id=tenant.pk, created_at=created_at)
    attempt = an_attempt(created_at=created_at)
    await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=(cap,))
    outcome = an_outcome(status=DispatchStatus.SUCCEEDED)
    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=cost_nanos, outcome=outcome))
    await sync_to_async(drain_deltas)()


@pytest.mark.parametrize("where", NAMED)
async def test_one_nano_dollar_anywhere_is_named_and_told_once(ledger: PostgresLedger, where: str) -> None:
    await one_call(ledger)
    assert await run() == []
    tampering, subject, amounts = NAMED[where]

    await executed(tampering)
    found = await run()
    assert any(line.startswith(subject) and amounts in line for line in found), found
    assert await run() == found

    def told() -> None:
        alert = Alert.objects.get()
        assert found[0] in alert.details.values()
        assert ReconcileDifference.objects.count() == len(found)
        assert all(abs(row.surplus) == 1 for row in ReconcileDifference.objects.all())
        assert list(ReconcileRun.objects.order_by("pk").values_list("difference_count", flat=True)) == [
            0,
            len(found),
            len(found),
        ]

    await sync_to_async(told)()


async def test_a_difference_that_is_gone_is_marked_and_told_anew_if_it_returns(
    ledger: PostgresLedger,
) -> None:
    await one_call(ledger)
    more = "UPDATE rollup_hour SET cost_nanos = cost_nanos + 1"
    await executed(more)
    assert await run()

    await executed("UPDATE rollup_hour SET cost_nanos = cost_nanos - 1")
    assert await run() == []
    assert await sync_to_async(ReconcileDifference.objects.filter(gone_at=None).count)() == 0

    await executed(more)
    assert await run()
    assert await sync_to_async(Alert.objects.count)() == 2


async def test_days_that_are_over_are_proven_once_and_not_read_again(ledger: PostgresLedger) -> None:
    await one_call(ledger, days_ago=5)
    await one_call(ledger)

    assert await run() == []
    first_unproven = (await sync_to_async(compare)()).read_from
    assert first_unproven is not None
    assert timezone.now() - timedelta(days=3) < first_unproven <= timezone.now() - timedelta(days=2)

    # Only the whole log says that a proven day of it was tampered with.
    await executed(
        "UPDATE attempt SET cost_nanos = cost_nanos + 1 WHERE created_at < now() - interval '3 days'"
    )
    assert await run() == []
    assert any("cost_nanos 322 ≠ 321" in line for line in await run(reads_all=True))
    # And what it has said stays said.
    assert any("cost_nanos 322 ≠ 321" in line for line in await run())


@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        ("UPDATE rollup_hour SET cost_nanos = cost_nanos + 1", "cost_nanos 321 ≠ 322"),
        ("UPDATE budget_balance SET settled_nanos = settled_nanos + 1", "spent_nanos 321 ≠ 322"),
        ("UPDATE budget_balance SET reserved_nanos = 1", "reserved_nanos 0 ≠ 1"),
    ],
)
async def test_an_error_in_a_proven_day_is_found(ledger: PostgresLedger, tampering: str, named: str) -> None:
    await one_call(ledger, days_ago=5)
    assert await run() == []

    await executed(tampering)

    assert any(named in line for line in await run())


async def test_a_correction_of_a_proven_day_is_read_again_and_is_no_difference(
    ledger: PostgresLedger,
) -> None:
    await one_call(ledger, days_ago=5)
    assert await run() == []

    await executed(
        "UPDATE attempt SET cost_nanos = cost_nanos + 7; UPDATE dispatch SET cost_nanos = cost_nanos + 7;"
        "UPDATE budget_balance SET settled_nanos = settled_nanos + 7;"
        "UPDATE rollup_hour SET cost_nanos = cost_nanos + 7; UPDATE rollup_day SET cost_nanos = cost_nanos + 7;"
        "UPDATE rollup_month SET cost_nanos = cost_nanos + 7"
    )

    assert await run() == []
    assert await sync_to_async(rows)("SELECT cost_nanos FROM reconciled_tenant_day") == [(328,)]


async def test_what_is_dropped_from_the_log_is_still_known(ledger: PostgresLedger) -> None:
    await one_call(ledger, days_ago=5)
    assert await run() == []
    (day,) = (await sync_to_async(rows)("SELECT to_char(current_date - 5, 'YYYYMMDD')"))[0]

    await executed(f"DROP TABLE attempt_{day}; DROP TABLE dispatch_{day}")
    await executed("SELECT create_log_partitions(current_date - 5, 1)")
    await executed("DELETE FROM attempt WHERE created_at < now() - interval '3 days'")
    assert await run() == []

    await executed("UPDATE budget_balance SET settled_nanos = settled_nanos - 1")
    assert any("spent_nanos 321 ≠ 320" in line for line in await run())


async def test_a_closed_month_is_never_changed_unseen(ledger: PostgresLedger) -> None:
    await one_call(ledger)
    await executed("UPDATE rollup_month SET month = '2026-01-01'; UPDATE rollup_day SET day = '2026-01-05'")
    await executed("UPDATE rollup_hour SET day = '2026-01-05'")
    await run()
    assert await sync_to_async(rows)("SELECT cost_nanos FROM closed_month") == [(321,)]

    for _ in range(2):
        await executed("UPDATE rollup_month SET cost_nanos = 300")
        await run()

    lines = await sync_to_async(rows)("SELECT month::text, cost_nanos FROM closed_month_adjustment")
    assert lines == [("2026-01-01", -21)]
    assert await sync_to_async(rows)("SELECT cost_nanos FROM closed_month") == [(321,)]
    titles = await sync_to_async(lambda: list(Alert.objects.values_list("title", flat=True)))()
    assert sum("closed month 2026-01" in title for title in titles) == 1


async def test_no_alarm_is_raised_while_traffic_flows(ledger: PostgresLedger) -> None:
    tenant = await sync_to_async(make_tenant)()
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=50_000_000)
    is_over = False

    async def traffic() -> int:
        calls = 0
        while not is_over:
            attempt = an_attempt()
            await ledger.begin(dispatch=a_dispatch(tenant_id=tenant.pk), attempt=attempt, budgets=(cap,))
            await ledger.settle(settlement=a_settlement(attempt, cost_nanos=7, outcome=an_outcome()))
            calls += 1
        return calls

    callers = [asyncio.create_task(traffic()) for _ in range(8)]
    for turn in range(12):
        if turn % 3 == 0:
            await sync_to_async(drain_deltas)()
        assert await run() == []
    is_over = True
    assert sum(await asyncio.gather(*callers)) > 50
    assert not await sync_to_async(Alert.objects.exists)()


def test_the_command_notes_its_run_and_fails_each_time_on_a_difference() -> None:
    call_command("reconcile", "--all")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rollup_latency VALUES (9, '2026-03-10 12:00Z', '2026-03-10', 1, 1, 30, 4)"
        )

    for _ in range(2):
        with pytest.raises(CommandError, match="1 difference"):
            call_command("reconcile")

    assert ReconcileRun.objects.count() == 3
    assert Alert.objects.count() == 1
