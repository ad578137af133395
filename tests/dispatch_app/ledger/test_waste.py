"""Waste goes with a dispatch's outcome into the log and all figures, whichever way the dispatch ends."""

from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async

from dispatch_app.execution.ports import BudgetKey
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.ledger.sweep import expire_attempts
from dispatch_app.rollups.drain import drain_deltas
from dispatch_app.rollups.reconcile import compare
from policies_app.models import Tenant
from policies_app.routing.codes import AttemptRole, FaultClass
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    make_budget,
)

WASTE = {"wasted_nanos": 300}


@pytest.fixture
def cap(transactional_db: None) -> BudgetKey:
    return make_budget(tenant=Tenant.objects.create(name="acme"), limit_nanos=5_000)


async def assert_told_everywhere(books: Books, *, wasted_nanos: int = 300) -> None:
    await sync_to_async(drain_deltas)()
    for table in ("dispatch", "rollup_hour", "rollup_day", "rollup_month"):
        (row,) = books.rows(f"SELECT sum(wasted_nanos) AS nanos FROM {table}")
        assert (table, row["nanos"]) == (table, wasted_nanos)
    assert not (await sync_to_async(compare)()).differences


async def test_waste_is_told_with_the_attempt_that_ends_its_dispatch(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    dispatch, loser = a_dispatch(), an_attempt()
    winner = an_attempt(position=2, role=AttemptRole.HEDGE)
    for attempt in (loser, winner):
        await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=(cap,))

    await ledger.settle(settlement=a_settlement(loser, cost_nanos=300, fault=FaultClass.SUPERSEDED))
    for _ in range(2):
        await ledger.settle(settlement=a_settlement(winner, cost_nanos=700, outcome=an_outcome(**WASTE)))

    await assert_told_everywhere(books)


async def test_waste_is_told_with_a_dispatch_that_has_nothing_left_to_settle(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    dispatch, attempt = a_dispatch(), an_attempt()
    await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=(cap,))
    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=300))

    await ledger.finish(dispatch=dispatch, outcome=an_outcome(**WASTE))

    await assert_told_everywhere(books)


async def test_waste_is_told_late_when_a_process_that_was_given_up_settles(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    attempt = an_attempt(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    await ledger.begin(dispatch=a_dispatch(), attempt=attempt, budgets=(cap,))
    await sync_to_async(expire_attempts)(now=datetime.now(UTC))
    await assert_told_everywhere(books, wasted_nanos=0)

    for _ in range(2):
        await ledger.settle(settlement=a_settlement(attempt, cost_nanos=300, outcome=an_outcome(**WASTE)))

    await assert_told_everywhere(books)
