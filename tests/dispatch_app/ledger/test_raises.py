"""What a raised budget admits, and that it admits it no longer than the raise lasts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from dispatch_app.execution.ports import BudgetKey, Verdict
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.snapshot.loader import load_snapshot
from policies_app.models import Budget, BudgetRaise, Tenant
from tests.dispatch_app.ledger.books import (
    Books,
    a_dispatch,
    a_settlement,
    an_attempt,
    an_outcome,
    make_budget,
)
from tests.factories import make_key

HOUR = timedelta(hours=1)


@pytest.fixture
def cap(transactional_db: None) -> BudgetKey:
    return make_budget(tenant=Tenant.objects.create(name="acme"), limit_nanos=1_000)


def add_raise(cap: BudgetKey, **fields: Any) -> BudgetRaise:
    """By 500 from an hour ago to an hour from now, unless `fields` say otherwise."""
    now = datetime.now(UTC)
    values = {"amount_nanos": 500, "starts_at": now - HOUR, "ends_at": now + HOUR, "reason": "fair"} | fields
    return BudgetRaise.objects.create(budget_id=cap.budget_id, author_name="ann", **values)


async def ask(ledger: PostgresLedger, cap: BudgetKey, nanos: int) -> Verdict:
    attempt = an_attempt(reserved_nanos=nanos)
    return (await ledger.begin(dispatch=a_dispatch(), attempt=attempt, budgets=(cap,))).verdict


async def test_a_raise_admits_as_much_more_and_not_a_nano_dollar_beyond(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    assert await ask(ledger, cap, 1_000) is Verdict.ADMITTED
    await sync_to_async(add_raise)(cap)

    assert await ask(ledger, cap, 501) is Verdict.OVER_BUDGET
    assert await ask(ledger, cap, 500) is Verdict.ADMITTED
    assert await ask(ledger, cap, 1) is Verdict.OVER_BUDGET
    assert books.balance(cap) == (0, 1_500, 0)
    books.assert_they_agree()


async def test_raises_add_up_from_the_first_reservation_of_a_period(
    ledger: PostgresLedger, cap: BudgetKey
) -> None:
    await sync_to_async(add_raise)(cap)
    await sync_to_async(add_raise)(cap, amount_nanos=200, ends_at=None)

    assert await ask(ledger, cap, 1_701) is Verdict.OVER_BUDGET
    assert await ask(ledger, cap, 1_700) is Verdict.ADMITTED


@pytest.mark.parametrize(
    "fields",
    [
        {"ends_at": datetime.now(UTC) - HOUR / 2},
        {"starts_at": datetime.now(UTC) + HOUR, "ends_at": None},
        {"withdrawn_at": datetime.now(UTC) - HOUR / 2},
        {"needs_second_person": True},
    ],
    ids=["over", "to come", "withdrawn", "waiting for its second person"],
)
async def test_a_raise_that_does_not_run_admits_nothing(
    ledger: PostgresLedger, cap: BudgetKey, fields: dict[str, object]
) -> None:
    await sync_to_async(add_raise)(cap, **fields)

    assert await ask(ledger, cap, 1_001) is Verdict.OVER_BUDGET
    assert await ask(ledger, cap, 1_000) is Verdict.ADMITTED


async def test_a_raise_counts_once_its_second_person_has_confirmed_it(
    ledger: PostgresLedger, cap: BudgetKey
) -> None:
    await sync_to_async(add_raise)(
        cap, needs_second_person=True, confirmed_at=datetime.now(UTC), confirmed_by_name="bob"
    )

    assert await ask(ledger, cap, 1_500) is Verdict.ADMITTED


async def test_what_was_admitted_by_a_raise_that_is_over_is_settled_and_nothing_more_is_admitted(
    ledger: PostgresLedger, books: Books, cap: BudgetKey
) -> None:
    more = await sync_to_async(add_raise)(cap)
    admitted = an_attempt(reserved_nanos=1_400)
    await ledger.begin(dispatch=a_dispatch(), attempt=admitted, budgets=(cap,))
    await BudgetRaise.objects.filter(pk=more.pk).aupdate(ends_at=datetime.now(UTC))

    await ledger.settle(settlement=a_settlement(admitted, cost_nanos=1_300, outcome=an_outcome()))

    assert books.balance(cap) == (1_300, 0, 0)
    assert await ask(ledger, cap, 1) is Verdict.OVER_BUDGET
    books.assert_they_agree()


async def test_raises_beyond_all_money_of_the_world_do_not_fail(
    ledger: PostgresLedger, cap: BudgetKey
) -> None:
    for _ in range(2):
        await sync_to_async(add_raise)(cap, amount_nanos=2**63 - 1)

    assert await ask(ledger, cap, 2**62) is Verdict.ADMITTED


def test_plans_reckon_with_the_limit_that_the_ledger_admits_by(cap: BudgetKey) -> None:
    key = make_key(Tenant.objects.get(name="acme")).row
    now = datetime.now(UTC)
    add_raise(cap, starts_at=now - HOUR, ends_at=now + HOUR)
    add_raise(cap, amount_nanos=70, starts_at=now + HOUR, ends_at=None)
    add_raise(cap, amount_nanos=9, needs_second_person=True)
    add_raise(cap, amount_nanos=8, withdrawn_at=now)

    (served,) = load_snapshot().keys[key.public_id].tenant.budgets
    instants = [
        now - 2 * HOUR,
        now - HOUR,
        now,
        now + HOUR - timedelta.resolution,
        now + HOUR,
        now + 2 * HOUR,
    ]
    by_the_ledger = [Budget.objects.with_limit_at(at).get().limit_at_nanos for at in instants]

    assert by_the_ledger == [1_000, 1_500, 1_500, 1_500, 1_070, 1_070]
    assert [served.limit_at(at) for at in instants] == by_the_ledger
