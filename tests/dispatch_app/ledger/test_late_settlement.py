"""A process that settles after the sweep took it for dead: the charge becomes what it cost, everywhere, once."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async

from dispatch_app.execution.ports import AttemptRecord, BudgetKey, DispatchRecord, LedgerUnavailableError
from dispatch_app.ledger.ledger import PostgresLedger, void_of
from dispatch_app.ledger.sweep import expire_attempts
from dispatch_app.rollups.drain import drain_deltas, recompute_dirty
from dispatch_app.rollups.reconcile import compare
from policies_app.models import Tenant
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    make_budget,
    somebody_waits,
)


@pytest.fixture
def cap(transactional_db: None) -> BudgetKey:
    return make_budget(tenant=Tenant.objects.create(name="acme"), limit_nanos=5_000)


async def begin(
    ledger: PostgresLedger, cap: BudgetKey, dispatch: DispatchRecord, **changes: Any
) -> AttemptRecord:
    """An attempt of 1,000 nanos that has expired by the time that it is settled."""
    attempt = an_attempt(expires_at=datetime.now(UTC) - timedelta(seconds=1), **changes)
    await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=(cap,))
    return attempt


async def expire() -> None:
    assert await sync_to_async(expire_attempts)(now=datetime.now(UTC)) > 0


async def test_the_charge_becomes_the_cost_and_the_dispatch_says_how_it_ended(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    attempt = await begin(ledger, cap, a_dispatch())
    await expire()
    assert books.balance(cap) == (1_000, 0, 0)

    for _ in range(2):
        await ledger.settle(settlement=a_settlement(attempt, cost_nanos=700, outcome=an_outcome()))

    assert books.balance(cap) == (700, 0, 0)
    (row,), (dispatch,) = books.attempts(), books.dispatches()
    assert (row["state"], row["cost_nanos"], row["output_tokens"], row["estimated"]) == (
        "settled",
        700,
        5,
        False,
    )
    assert (dispatch["status"], dispatch["attempts"], dispatch["estimated"]) == ("succeeded", 1, False)
    books.assert_they_agree()


async def test_figures_move_to_the_outcome_that_was(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    attempt = await begin(ledger, cap, a_dispatch())
    await expire()
    await sync_to_async(drain_deltas)()

    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=700, outcome=an_outcome()))
    await sync_to_async(drain_deltas)()

    figures = {
        row["outcome"]: (row["dispatches"], row["attempts"], row["cost_nanos"])
        for row in books.rows("SELECT outcome, dispatches, attempts, cost_nanos FROM rollup_hour")
    }
    assert figures == {"expired": (0, 0, 0), "succeeded": (1, 1, 700)}
    await sync_to_async(recompute_dirty)()
    assert not (await sync_to_async(compare)()).differences


async def test_what_cost_more_than_its_reservation_is_an_overage(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    attempt = await begin(ledger, cap, a_dispatch())
    await expire()

    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=1_300, outcome=an_outcome()))

    assert books.balance(cap) == (1_000, 0, 300)
    books.assert_they_agree()


async def test_what_was_provably_never_sent_is_given_back(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    attempt = await begin(ledger, cap, a_dispatch())
    await expire()

    await ledger.settle(settlement=void_of(attempt))

    assert books.balance(cap) == (0, 0, 0)
    assert books.attempts()[0]["state"] == "voided"
    assert books.dispatches()[0]["status"] == "expired"
    books.assert_they_agree()


@pytest.mark.parametrize("winner", [0, 1])
async def test_a_race_counts_once_whichever_of_its_attempts_ends_it(
    ledger: PostgresLedger, books: Books, cap: BudgetKey, winner: int
) -> None:
    dispatch = a_dispatch()
    racers = [await begin(ledger, cap, dispatch, position=number, model_id=number) for number in (1, 2)]
    await expire()

    for number, attempt in enumerate(racers):
        outcome = an_outcome(model_id=number + 1) if number == winner else None
        await ledger.settle(settlement=a_settlement(attempt, cost_nanos=100, outcome=outcome))

    assert books.balance(cap) == (200, 0, 0)
    assert books.dispatches()[0]["status"] == "succeeded"
    ended = books.rows(
        "SELECT outcome, model_id, sum(dispatches) AS dispatches FROM rollup_delta GROUP BY 1, 2 HAVING sum(dispatches) <> 0"
    )
    assert [(row["outcome"], row["model_id"], row["dispatches"]) for row in ended] == [
        ("succeeded", winner + 1, 1)
    ]
    books.assert_they_agree()


async def test_late_and_punctual_settlements_share_a_batch(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    late = await begin(ledger, cap, a_dispatch())
    await expire()
    punctual = an_attempt()
    await ledger.begin(dispatch=a_dispatch(), attempt=punctual, budgets=(cap,))

    settled = [
        ledger.settle(settlement=a_settlement(attempt, cost_nanos=cost, outcome=an_outcome()))
        for attempt, cost in ((late, 400), (punctual, 300))
    ]
    assert await asyncio.gather(*settled) == [True, True]

    assert books.balance(cap) == (700, 0, 0)
    books.assert_they_agree()


async def test_a_dispatch_that_the_sweep_ended_begins_nothing_more(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    dispatch = a_dispatch()
    late = await begin(ledger, cap, dispatch)
    await expire()

    with pytest.raises(LedgerUnavailableError):
        await begin(ledger, cap, dispatch, position=2)
    await ledger.settle(settlement=a_settlement(late, cost_nanos=100))

    assert len(books.attempts()) == 1
    assert books.balance(cap) == (100, 0, 0)
    assert books.dispatches()[0]["status"] == "expired"
    books.assert_they_agree()


async def test_a_dispatch_goes_on_while_another_of_its_attempts_is_in_time(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    dispatch, answering = a_dispatch(), an_attempt()
    await ledger.begin(dispatch=dispatch, attempt=answering, budgets=(cap,))
    await begin(ledger, cap, dispatch, position=2)
    await expire()
    assert books.dispatches()[0]["status"] == "open"

    await ledger.settle(settlement=a_settlement(answering, cost_nanos=100, outcome=an_outcome()))

    assert books.dispatches()[0]["status"] == "succeeded"
    books.assert_they_agree()


async def test_a_further_attempt_waits_for_a_sweep_that_is_ending_its_dispatch(
    conninfo: str, ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    dispatch = a_dispatch()
    await begin(ledger, cap, dispatch)
    async with await psycopg.AsyncConnection.connect(conninfo) as sweeping:
        await sweeping.execute("SELECT ledger_expire(%s, 10)", [datetime.now(UTC)])
        further = asyncio.create_task(begin(ledger, cap, dispatch, position=2))
        await somebody_waits(books)

    with pytest.raises(LedgerUnavailableError):
        await further
    assert len(books.attempts()) == 1
    books.assert_they_agree()


async def test_the_sweep_leaves_a_dispatch_alone_that_is_beginning_an_attempt(
    conninfo: str, ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    dispatch = a_dispatch()
    await begin(ledger, cap, dispatch)
    async with await psycopg.AsyncConnection.connect(conninfo) as beginning:
        await beginning.execute("SELECT FROM dispatch FOR KEY SHARE")
        assert await sync_to_async(expire_attempts)(now=datetime.now(UTC)) == 0
    assert books.dispatches()[0]["status"] == "open"

    await expire()
    assert books.dispatches()[0]["status"] == "expired"
