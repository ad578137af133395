import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from io import StringIO

import psycopg
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.db import connection, connections

from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.ledger.sweep import expire_attempts
from dispatch_app.rollups.drain import drain_deltas
from dispatch_app.rollups.reconcile import compare
from dispatch_app.snapshot.budget_usage import BudgetUsage
from policies_app.routing.codes import DispatchStatus, FaultClass
from tests.dispatch_app.ledger.books import NOW, a_dispatch, a_settlement, an_attempt, an_outcome, make_budget
from tests.factories import make_tenant

pytestmark = pytest.mark.usefixtures("figures")


@pytest_asyncio.fixture
async def ledger(figures: None) -> AsyncIterator[PostgresLedger]:
    parameters = connection.get_connection_params()
    names = {"dbname", "user", "password", "host", "port"}
    conninfo = psycopg.conninfo.make_conninfo(**{name: parameters[name] for name in names & set(parameters)})
    ledger = PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=10.0)
    await ledger.start()
    yield ledger
    await ledger.stop()
    await sync_to_async(connections.close_all)()


@pytest_asyncio.fixture
async def traffic(ledger: PostgresLedger) -> None:
    """A failover that succeeds, a refusal without an attempt, a call above its reservation, and one that was never settled."""
    tenant = await sync_to_async(make_tenant)(time_zone="Europe/Berlin")
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=50_000)
    failover, refused, dear, lost = (a_dispatch(tenant_id=tenant.pk) for _ in range(4))
    first, second, above = an_attempt(), an_attempt(position=2), an_attempt()
    forgotten = an_attempt(expires_at=NOW - timedelta(minutes=1))

    await ledger.begin(dispatch=failover, attempt=first, budgets=(cap,))
    await ledger.settle(settlement=a_settlement(first, cost_nanos=0, fault=FaultClass.RATE_LIMITED))
    await ledger.begin(dispatch=failover, attempt=second, budgets=(cap,))
    await ledger.settle(
        settlement=a_settlement(second, cost_nanos=321, outcome=an_outcome(baseline_cost_nanos=999))
    )
    await ledger.finish(dispatch=refused, outcome=an_outcome(status=DispatchStatus.REFUSED, model_id=None))
    await ledger.begin(dispatch=dear, attempt=above, budgets=(cap,))
    await ledger.settle(settlement=a_settlement(above, cost_nanos=1_500, outcome=an_outcome()))
    await ledger.begin(dispatch=lost, attempt=forgotten, budgets=(cap,))


async def reconciled() -> list[str]:
    return [str(difference) for difference in (await sync_to_async(compare)()).differences]


async def executed(statement: str) -> None:
    def execute() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)

    await sync_to_async(execute)()


@pytest.mark.usefixtures("traffic")
async def test_log_budgets_and_rollups_agree_at_every_moment() -> None:
    assert await reconciled() == []

    await sync_to_async(drain_deltas)()
    assert await reconciled() == []

    assert await sync_to_async(expire_attempts)(now=NOW) == 1
    assert await reconciled() == []

    await sync_to_async(drain_deltas)()
    assert await reconciled() == []


@pytest.mark.usefixtures("traffic")
async def test_they_agree_while_drains_and_traffic_go_on(ledger: PostgresLedger) -> None:
    async def call() -> None:
        dispatch, attempt = a_dispatch(), an_attempt()
        await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=())
        await ledger.settle(settlement=a_settlement(attempt, cost_nanos=7, outcome=an_outcome()))

    async def watch() -> None:
        for _ in range(5):
            await sync_to_async(drain_deltas)()
            assert await reconciled() == []

    await asyncio.gather(watch(), *(call() for _ in range(200)))

    await sync_to_async(drain_deltas)()
    assert await reconciled() == []


@pytest.mark.usefixtures("traffic")
@pytest.mark.parametrize(
    ("tampering", "named"),
    [
        ("UPDATE rollup_hour SET cost_nanos = cost_nanos + 1 WHERE cost_nanos > 0", "cost_nanos 1821 ≠ 1822"),
        ("DELETE FROM rollup_hour WHERE outcome = 'refused'", "dispatches 3 ≠ 2"),
        ("UPDATE attempt SET cost_nanos = cost_nanos - 1 WHERE cost_nanos = 1500", "spent_nanos 1820 ≠ 1821"),
        ("UPDATE budget_balance SET reserved_nanos = 0", "reserved_nanos 1000 ≠ 0"),
        ("UPDATE budget_balance SET overage_nanos = 0", "spent_nanos 1821 ≠ 1321"),
        ("UPDATE dispatch SET cost_nanos = 5 WHERE cost_nanos = 321", "cost_nanos 321 ≠ 5"),
        ("DELETE FROM rollup_day WHERE outcome = 'refused'", "dispatches"),
        ("DELETE FROM rollup_month WHERE outcome = 'refused'", "dispatches"),
        ("UPDATE rollup_latency SET dispatches = dispatches + 1", "dispatches"),
        ("DELETE FROM rollup_day", "cost_nanos 1821 ≠ 0"),
    ],
)
async def test_a_difference_of_one_nano_dollar_or_one_row_is_found(tampering: str, named: str) -> None:
    await sync_to_async(drain_deltas)()

    await executed(tampering)

    assert any(named in difference for difference in await reconciled())


def test_the_command_says_that_all_agrees_and_fails_on_a_difference() -> None:
    output = StringIO()
    call_command("reconcile", stdout=output)
    assert output.getvalue() == "Log, budgets and rollups agree.\n"

    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO rollup_latency VALUES (9, '2026-03-10 12:00Z', '2026-03-10', 1, 1, 30, 4)"
        )
    with pytest.raises(CommandError, match="1 difference"):
        call_command("reconcile", stdout=output)
    assert "tenant 9, hour 2026-03-10 12:00: dispatches 0 ≠ 4" in output.getvalue()
