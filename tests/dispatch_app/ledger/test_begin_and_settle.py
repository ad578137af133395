import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from dispatch_app.execution.ports import BeginVerdict, LedgerUnavailableError, Verdict
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.ledger.sweep import expire_attempts
from dispatch_app.ledger.wire import BEGIN_SQL, begin_parameters
from dispatch_app.snapshot.budget_usage import BudgetUsage
from policies_app.models import Budget, KillSwitch, Tenant
from policies_app.routing.codes import BudgetAction, DispatchStatus, FaultClass, KillScope
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    key_of,
    make_budget,
    somebody_waits,
)

ADMITTED = BeginVerdict(verdict=Verdict.ADMITTED)


@pytest.fixture
def tenant(transactional_db: None) -> Tenant:
    return Tenant.objects.create(name="acme")


async def test_an_admitted_attempt_is_logged_and_reserved_before_begin_returns(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=5_000)
    attempt = an_attempt(reserved_nanos=1_200)

    verdict = await ledger.begin(dispatch=a_dispatch(tenant_id=tenant.pk), attempt=attempt, budgets=(cap,))

    assert verdict == ADMITTED
    assert books.balance(cap) == (0, 1_200, 0)
    assert [row["id"] for row in books.attempts()] == [attempt.id]
    assert [row["status"] for row in books.dispatches()] == ["open"]
    books.assert_they_agree()


async def test_settling_posts_the_actual_cost_and_frees_the_rest(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=5_000)
    attempt = an_attempt(reserved_nanos=1_200)
    await ledger.begin(dispatch=a_dispatch(tenant_id=tenant.pk), attempt=attempt, budgets=(cap,))

    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=700, outcome=an_outcome()))

    assert books.balance(cap) == (700, 0, 0)
    assert books.dispatches()[0]["status"] == "succeeded"
    assert books.dispatches()[0]["cost_nanos"] == 700
    assert ledger.budget_usage.get((cap.budget_id, "", cap.period_start)) == 700
    books.assert_they_agree()


async def test_a_settlement_that_is_sent_twice_posts_once(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=5_000)
    attempt = an_attempt()
    await ledger.begin(dispatch=a_dispatch(tenant_id=tenant.pk), attempt=attempt, budgets=(cap,))
    settlement = a_settlement(attempt, cost_nanos=700, outcome=an_outcome())

    await asyncio.gather(*(ledger.settle(settlement=settlement) for _ in range(3)))
    # In one batch a row is updated once anyway, and without another reservation there is nothing to release.
    await ledger.begin(dispatch=a_dispatch(tenant_id=tenant.pk), attempt=an_attempt(), budgets=(cap,))
    await ledger.settle(settlement=settlement)

    assert books.balance(cap) == (700, 1_000, 0)
    assert sum(dispatch["cost_nanos"] for dispatch in books.dispatches()) == 700
    books.assert_they_agree()


async def test_reservations_are_all_or_nothing_over_several_budgets(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    wide = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=10_000, name="wide")
    narrow = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=999, name="narrow")

    verdict = await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(wide, narrow))

    assert verdict == BeginVerdict(verdict=Verdict.OVER_BUDGET, subject_id=narrow.budget_id)
    assert books.balance(wide) == (0, 0, 0)
    assert books.attempts() == []
    assert books.dispatches() == []


async def test_concurrent_begins_of_two_processes_never_overspend_and_leave_nothing_unused(
    conninfo: str, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=50_500)
    ledgers = [
        PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=10.0) for _ in range(2)
    ]
    for ledger in ledgers:
        await ledger.start()

    verdicts = await asyncio.gather(
        *(
            ledgers[n % 2].begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(cap,))
            for n in range(200)
        )
    )

    assert sum(verdict == ADMITTED for verdict in verdicts) == 50
    assert books.balance(cap) == (0, 50_000, 0)
    for ledger in ledgers:
        await ledger.stop()
    books.assert_they_agree()


async def test_a_reservation_that_is_being_committed_elsewhere_counts(conninfo: str, tenant: Tenant) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=2_500)
    ledger = PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=10.0)
    await ledger.start()
    await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(cap,))

    async with await psycopg.AsyncConnection.connect(conninfo) as other:
        await other.execute("UPDATE budget_balance SET reserved_nanos = reserved_nanos + 1000")
        waiting = asyncio.create_task(
            ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(cap,))
        )
        await asyncio.sleep(0.3)
        assert not waiting.done()

    assert (await waiting).verdict is Verdict.OVER_BUDGET
    await ledger.stop()


async def test_balances_are_locked_in_one_order_whatever_the_order_of_a_dispatch(
    conninfo: str, books: Books, tenant: Tenant
) -> None:
    caps = [
        await sync_to_async(make_budget)(tenant=tenant, limit_nanos=9_000, name=name) for name in ("a", "b")
    ]
    ledger = PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=60.0)
    await ledger.start()
    opened = an_attempt()
    await ledger.begin(dispatch=a_dispatch(), attempt=opened, budgets=tuple(caps))
    first, last = (row["id"] for row in books.rows("SELECT id FROM budget_balance ORDER BY id"))

    for ask in (
        ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=tuple(reversed(caps))),
        ledger.settle(settlement=a_settlement(opened, cost_nanos=1)),
    ):
        async with await psycopg.AsyncConnection.connect(conninfo) as other:
            await other.execute("SELECT FROM budget_balance WHERE id = %s FOR NO KEY UPDATE", (last,))
            waiting = asyncio.create_task(ask)
            await somebody_waits(books)
            free = await other.execute(
                "SELECT FROM budget_balance WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED", (first,)
            )
            assert free.rowcount == 0
        await waiting
    await ledger.stop()


async def test_cost_above_the_reservation_goes_to_the_overage_account(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=1_000)
    attempt = an_attempt(reserved_nanos=1_000)
    await ledger.begin(dispatch=a_dispatch(), attempt=attempt, budgets=(cap,))

    await ledger.settle(settlement=a_settlement(attempt, cost_nanos=1_300, outcome=an_outcome()))

    assert books.balance(cap) == (1_000, 0, 300)
    verdict = await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(reserved_nanos=1), budgets=(cap,))
    assert verdict.verdict is Verdict.OVER_BUDGET


async def test_a_free_target_is_admitted_past_the_cap(ledger: PostgresLedger, tenant: Tenant) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=0)

    assert (
        await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(reserved_nanos=0), budgets=(cap,))
        == ADMITTED
    )


async def test_a_soft_budget_counts_and_never_refuses(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    alert = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=10, action=BudgetAction.ALERT)

    assert await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(alert,)) == ADMITTED
    assert books.balance(alert) == (0, 1_000, 0)


async def test_a_lowered_limit_counts_for_the_next_attempt(ledger: PostgresLedger, tenant: Tenant) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=5_000)
    await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(cap,))

    await Budget.objects.filter(pk=cap.budget_id).aupdate(limit_nanos=1_500)

    verdict = await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(cap,))
    assert verdict == BeginVerdict(verdict=Verdict.OVER_BUDGET, subject_id=cap.budget_id)


async def test_a_period_that_begins_while_its_limit_is_raised_is_granted_the_raised_limit(
    ledger: PostgresLedger, books: Books, conninfo: str, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=500)
    with psycopg.connect(conninfo) as edit:
        edit.execute("UPDATE policies_app_budget SET limit_nanos = 5000 WHERE id = %s", [cap.budget_id])
        begun = asyncio.create_task(ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(cap,)))
        await asyncio.sleep(0.1)
        edit.commit()

        assert await begun == ADMITTED
    assert books.rows("SELECT granted_nanos FROM budget_balance") == [{"granted_nanos": 5_000}]


async def test_each_end_user_has_a_balance_of_its_own(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    budget = await Budget.objects.acreate(
        tenant=tenant, name="each user", scope="end_user", limit_nanos=1_000
    )
    ann, bob = key_of(budget, subject="ann"), key_of(budget, subject="bob")

    assert (
        await ledger.begin(dispatch=a_dispatch(end_user="ann"), attempt=an_attempt(), budgets=(ann,))
        == ADMITTED
    )
    assert (
        await ledger.begin(dispatch=a_dispatch(end_user="bob"), attempt=an_attempt(), budgets=(bob,))
        == ADMITTED
    )
    refused = await ledger.begin(dispatch=a_dispatch(end_user="ann"), attempt=an_attempt(), budgets=(ann,))

    assert refused.verdict is Verdict.OVER_BUDGET
    assert books.balance(ann) == books.balance(bob) == (0, 1_000, 0)


async def test_a_failed_attempt_and_its_fallback_add_up_on_the_dispatch(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=5_000)
    dispatch = a_dispatch()
    first, second = an_attempt(), an_attempt(position=2, model_id=2)

    await ledger.begin(dispatch=dispatch, attempt=first, budgets=(cap,))
    await ledger.settle(settlement=a_settlement(first, cost_nanos=100, fault=FaultClass.SERVER_ERROR))
    await ledger.begin(dispatch=dispatch, attempt=second, budgets=(cap,))
    await ledger.settle(settlement=a_settlement(second, cost_nanos=250, outcome=an_outcome(model_id=2)))

    (row,) = books.dispatches()
    assert (row["attempts"], row["cost_nanos"], row["model_id"], row["output_tokens"]) == (2, 350, 2, 10)
    books.assert_they_agree()


async def test_attempts_that_begin_at_once_share_one_dispatch_whichever_is_admitted(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=2_000)
    dispatch = a_dispatch(tenant_id=tenant.pk)
    dear, cheap, cheaper = (
        an_attempt(reserved_nanos=reserved_nanos, position=position, is_first=True)
        for position, reserved_nanos in enumerate((5_000, 1_200, 700), start=1)
    )

    verdicts = await asyncio.gather(
        *(
            ledger.begin(dispatch=dispatch, attempt=attempt, budgets=(cap,))
            for attempt in (dear, cheap, cheaper)
        )
    )

    assert [verdict.verdict for verdict in verdicts] == [
        Verdict.OVER_BUDGET,
        Verdict.ADMITTED,
        Verdict.ADMITTED,
    ]
    assert [row["id"] for row in books.dispatches()] == [dispatch.id]
    await ledger.settle(settlement=a_settlement(cheaper, cost_nanos=10, outcome=None))
    outcome = an_outcome(answered_by=2, validated=False)
    await ledger.settle(settlement=a_settlement(cheap, cost_nanos=700, outcome=outcome))
    (row,) = books.dispatches()
    assert (row["attempts"], row["cost_nanos"], row["answered_by"], row["validated"]) == (2, 710, 2, False)
    books.assert_they_agree()


async def test_a_dispatch_that_was_refused_is_logged_without_an_attempt(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    dispatch = a_dispatch(tenant_id=tenant.pk)
    outcome = an_outcome(status=DispatchStatus.REFUSED, error_code="killed", model_id=None, provider_id=None)

    await ledger.finish(dispatch=dispatch, outcome=outcome)
    await ledger.finish(dispatch=dispatch, outcome=outcome)

    (row,) = books.dispatches()
    assert (row["status"], row["error_code"], row["attempts"]) == ("refused", "killed", 0)
    books.assert_they_agree()


async def test_no_attempt_is_admitted_after_the_save_of_a_kill_switch_has_returned(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    admitted_at: list[float] = []
    saved_at: list[float] = []
    stop = threading.Event()

    async def load() -> None:
        while not stop.is_set():
            started_at = time.monotonic()
            verdict = await ledger.begin(
                dispatch=a_dispatch(tenant_id=tenant.pk), attempt=an_attempt(), budgets=()
            )
            if verdict == ADMITTED:
                admitted_at.append(started_at)
            else:
                stop.set()

    def kill() -> None:
        KillSwitch.objects.create(scope=KillScope.TENANT, tenant=tenant, reason="test", author_name="test")
        saved_at.append(time.monotonic())
        connection.close()

    callers = [asyncio.create_task(load()) for _ in range(32)]
    await asyncio.sleep(0.3)
    await asyncio.to_thread(kill)
    await asyncio.gather(*callers)

    assert admitted_at
    assert max(admitted_at) < saved_at[0]


def test_the_save_of_a_kill_switch_waits_for_an_admission_in_progress(conninfo: str, tenant: Tenant) -> None:
    switch = KillSwitch(scope=KillScope.EVERYTHING, reason="test", author_name="test")
    with psycopg.connect(conninfo) as admission:
        admission.execute(BEGIN_SQL, begin_parameters([], in_doubt=False)[1])
        with (
            pytest.raises(Exception, match="lock timeout"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("SET LOCAL lock_timeout = '200ms'")
            switch.save()
        admission.rollback()

    switch.save()
    assert KillSwitch.objects.active().count() == 1


async def test_a_switch_stops_what_it_names_and_nothing_else(ledger: PostgresLedger, tenant: Tenant) -> None:
    switch = await KillSwitch.objects.acreate(
        scope=KillScope.END_USER, tenant=tenant, end_user="ann", reason="test", author_name="test"
    )

    ann = await ledger.begin(
        dispatch=a_dispatch(tenant_id=tenant.pk, end_user="ann"), attempt=an_attempt(), budgets=()
    )
    bob = await ledger.begin(
        dispatch=a_dispatch(tenant_id=tenant.pk, end_user="bob"), attempt=an_attempt(), budgets=()
    )

    assert ann == BeginVerdict(verdict=Verdict.KILLED, subject_id=switch.pk)
    assert bob == ADMITTED


async def test_a_text_that_the_database_refuses_fails_alone(ledger: PostgresLedger, books: Books) -> None:
    async def begin(task: str) -> object:
        try:
            return await ledger.begin(dispatch=a_dispatch(task=task), attempt=an_attempt(), budgets=())
        except LedgerUnavailableError:
            return None

    answers = await asyncio.gather(*(begin("nul\x00" if n == 5 else "fine") for n in range(20)))

    assert [n for n, answer in enumerate(answers) if answer is None] == [5]
    assert len(books.attempts()) == 19


async def test_a_batch_in_doubt_answers_the_earlier_verdict_and_reserves_once(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=1_500)
    dispatch, attempt = a_dispatch(), an_attempt()
    await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=(cap,))

    await _break_connections(books)
    answers = await ledger.begin(dispatch=dispatch, attempt=attempt, budgets=(cap,))

    assert answers == ADMITTED
    assert books.balance(cap) == (0, 1_000, 0)
    books.assert_they_agree()


async def test_a_caller_that_gives_up_leaves_no_reservation_behind(
    ledger: PostgresLedger, books: Books, tenant: Tenant
) -> None:
    cap = await sync_to_async(make_budget)(tenant=tenant, limit_nanos=5_000)
    callers = [
        asyncio.create_task(ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=(cap,)))
        for _ in range(20)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    for caller in callers:
        caller.cancel()
    await asyncio.gather(*callers, return_exceptions=True)

    await ledger.stop()
    assert {row["state"] for row in books.attempts()} <= {"voided"}
    assert books.balance(cap)[:2] == (0, 0)


async def test_without_a_database_callers_are_refused_in_time_and_then_at_once() -> None:
    ledger = PostgresLedger(conninfo="host=127.0.0.1 port=1 connect_timeout=1", budget_usage=BudgetUsage())
    await ledger.start()

    waits = []
    for _ in range(3):
        started_at = time.monotonic()
        with pytest.raises(LedgerUnavailableError):
            await ledger.begin(dispatch=a_dispatch(), attempt=an_attempt(), budgets=())
        waits.append(time.monotonic() - started_at)
    await ledger.stop()

    assert waits[0] < 0.4
    assert max(waits[1:]) < 0.1


def test_an_overdue_attempt_is_charged_its_reservation_and_ends_its_dispatch(
    conninfo: str, books: Books, tenant: Tenant
) -> None:
    cap = make_budget(tenant=tenant, limit_nanos=5_000)
    attempt = an_attempt(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    asyncio.run(_begin_alone(conninfo, attempt, cap))

    closed = expire_attempts(now=datetime.now(UTC))

    assert closed == 1
    assert books.balance(cap) == (1_000, 0, 0)
    assert books.attempts()[0]["state"] == "expired"
    assert books.dispatches()[0]["status"] == "expired"
    assert expire_attempts(now=datetime.now(UTC)) == 0
    books.assert_they_agree()


def test_the_sweep_leaves_what_is_still_in_time(conninfo: str, books: Books, tenant: Tenant) -> None:
    cap = make_budget(tenant=tenant, limit_nanos=5_000)
    asyncio.run(_begin_alone(conninfo, an_attempt(), cap))

    assert expire_attempts(now=datetime.now(UTC)) == 0
    assert books.balance(cap) == (0, 1_000, 0)


def test_a_sweep_by_a_clock_that_ran_ahead_hides_nothing_from_the_next(
    conninfo: str, books: Books, tenant: Tenant
) -> None:
    cap = make_budget(tenant=tenant, limit_nanos=5_000)
    expire_attempts(now=datetime.now(UTC) + timedelta(hours=1))
    asyncio.run(_begin_alone(conninfo, an_attempt(expires_at=datetime.now(UTC) - timedelta(seconds=1)), cap))

    assert expire_attempts(now=datetime.now(UTC)) == 1
    assert books.balance(cap) == (1_000, 0, 0)


def test_a_sweep_passes_over_nothing_that_is_still_in_time(
    conninfo: str, books: Books, tenant: Tenant
) -> None:
    cap = make_budget(tenant=tenant, limit_nanos=5_000)
    now = datetime.now(UTC)
    long_running = an_attempt(created_at=now - timedelta(minutes=20), expires_at=now + timedelta(minutes=10))
    asyncio.run(_begin_alone(conninfo, long_running, cap))

    assert expire_attempts(now=now) == 0
    assert expire_attempts(now=now + timedelta(minutes=11)) == 1
    assert books.balance(cap) == (1_000, 0, 0)


async def _begin_alone(conninfo: str, attempt: object, cap: object) -> None:
    ledger = PostgresLedger(conninfo=conninfo, budget_usage=BudgetUsage(), begin_patience_s=10.0)
    await ledger.start()
    assert await ledger.begin(dispatch=a_dispatch(), attempt=attempt, budgets=(cap,)) == ADMITTED
    await ledger.stop()


async def _break_connections(books: Books) -> None:
    books.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'signalbox-%%'"
    )
