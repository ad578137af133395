"""Connections keep their plans, which are made while a day is still empty. They must not be kept while it fills."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async

from dispatch_app.execution.ports import AttemptRecord, BudgetKey
from dispatch_app.ledger import lane
from dispatch_app.ledger.ledger import PostgresLedger
from policies_app.models import Tenant
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    make_budget,
)

IN_FLIGHT = 64
ROUNDS_TO_GROW = 32
ROUNDS = 4
MOST_READ_EACH = 12
"""Rows that are read for one dispatch with its attempt: a few, by index, however many the day has."""


@pytest.mark.parametrize("day", [0, 1], ids=["today", "a day that begins while the connections live"])
async def test_what_the_ledger_reads_does_not_grow_with_the_day(
    ledger: PostgresLedger, books: Books, day: int
) -> None:
    tenant = await Tenant.objects.acreate(name="acme")
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=10**12)
    # A sequential scan is what an empty table gets that is known to be empty.
    books.connection.execute("ANALYZE dispatch, attempt")
    now = datetime.now(UTC)
    await _settle(ledger, await _begin(ledger, cap, now))
    await _cycles(ledger, cap, now + timedelta(days=day), rounds=ROUNDS_TO_GROW)
    grown = await _rows_read(ledger, books)

    await _cycles(ledger, cap, now + timedelta(days=day, minutes=1), rounds=ROUNDS)

    assert 0 < await _rows_read(ledger, books) - grown <= ROUNDS * IN_FLIGHT * MOST_READ_EACH


async def _cycles(ledger: PostgresLedger, cap: BudgetKey, at: datetime, *, rounds: int) -> None:
    for number in range(rounds):
        times = [at + timedelta(milliseconds=number, microseconds=n) for n in range(IN_FLIGHT)]
        attempts = await asyncio.gather(*(_begin(ledger, cap, time) for time in times))
        await asyncio.gather(*(_settle(ledger, attempt) for attempt in attempts))


async def _begin(ledger: PostgresLedger, cap: BudgetKey, at: datetime) -> AttemptRecord:
    attempt = an_attempt(created_at=at, expires_at=at + timedelta(minutes=2))
    await ledger.begin(dispatch=a_dispatch(created_at=at), attempt=attempt, budgets=(cap,))
    return attempt


async def _settle(ledger: PostgresLedger, attempt: AttemptRecord) -> None:
    assert await ledger.settle(settlement=a_settlement(attempt, cost_nanos=1, outcome=an_outcome()))


async def _rows_read(ledger: PostgresLedger, books: Books) -> int:
    """Rows of the log's days that the lanes' scans have read so far."""
    for of in (ledger._begins, ledger._settles):
        assert of._connection is not None
        # What a connection has read is told by itself, at the end of its transaction.
        await of._connection.execute("SELECT pg_stat_force_next_flush()")
    [row] = books.rows(
        "SELECT pg_stat_clear_snapshot(), sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint AS read"
        "  FROM pg_stat_user_tables WHERE relname ~ '^(dispatch|attempt)_[0-9]{8}$'"
    )
    return int(row["read"])


def test_plans_are_renewed_when_rows_have_doubled_and_when_a_day_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lane, "_utc_day", lambda: 7)
    plans = lane._Plans(day=7)
    renewed_at = [count for count in range(0, 1024, 32) if plans.are_outgrown(32)]
    monkeypatch.setattr(lane, "_utc_day", lambda: 8)

    assert renewed_at == [64, 128, 256, 512]
    assert [plans.are_outgrown(32) for _ in range(4)] == [True, False, True, False]
