from datetime import UTC, datetime

import pytest
import time_machine
from django.db import connection

from policies_app.models import AuditEntry
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope
from policies_app.services.budgets import BudgetNotSavedError, change_budget_limit, create_budget, save_budget
from tests.factories import make_tenant

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BERLIN_TODAY = datetime(2026, 11, 22, 23, tzinfo=UTC)
BERLIN_YESTERDAY = datetime(2026, 11, 21, 23, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _noon(db):
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def budget():
    return create_budget(
        tenant=make_tenant("acme", time_zone="Europe/Berlin"),
        name="day",
        limit_nanos=100,
        period=BudgetPeriod.DAY,
        author_name="finance",
    )


def add_balance(budget, start, *, settled=0, reserved=0, granted=100, subject=""):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budget_balance (budget_id, subject, period_start, granted_nanos, settled_nanos, reserved_nanos)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            [budget.pk, subject, start, granted, settled, reserved],
        )


def granted_by_start(budget):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT period_start, granted_nanos FROM budget_balance WHERE budget_id = %s", [budget.pk]
        )
        return dict(cursor.fetchall())


def test_a_raised_limit_is_granted_to_the_running_period_only(budget):
    add_balance(budget, BERLIN_TODAY, settled=90)
    add_balance(budget, BERLIN_YESTERDAY, settled=90)

    change_budget_limit(budget=budget, limit_nanos=500, author_name="finance")

    assert granted_by_start(budget) == {BERLIN_TODAY: 500, BERLIN_YESTERDAY: 100}


def test_a_lowered_limit_takes_nothing_back_that_is_spoken_for(budget):
    add_balance(budget, BERLIN_TODAY, settled=60, reserved=20)

    change_budget_limit(budget=budget, limit_nanos=50, author_name="finance")

    budget.refresh_from_db()
    assert budget.limit_nanos == 50
    assert granted_by_start(budget) == {BERLIN_TODAY: 80}


def test_every_end_user_of_the_running_period_is_granted_the_new_limit(budget):
    add_balance(budget, BERLIN_TODAY, subject="mia")
    add_balance(budget, BERLIN_TODAY, subject="max")

    change_budget_limit(budget=budget, limit_nanos=200, author_name="finance")

    with connection.cursor() as cursor:
        cursor.execute("SELECT granted_nanos FROM budget_balance")
        assert cursor.fetchall() == [(200,), (200,)]


def test_a_soft_budget_that_becomes_hard_is_capped_from_now_on(budget):
    add_balance(budget, BERLIN_TODAY, settled=30, granted=None)

    budget.action = BudgetAction.REJECT
    save_budget(budget=budget, author_name="finance")

    assert granted_by_start(budget) == {BERLIN_TODAY: 100}


def test_a_hard_budget_that_becomes_soft_caps_no_more(budget):
    add_balance(budget, BERLIN_TODAY)

    budget.action = BudgetAction.ALERT
    save_budget(budget=budget, author_name="finance")

    assert granted_by_start(budget) == {BERLIN_TODAY: None}


def test_a_change_of_limit_says_who_from_what_to_what_and_why(budget):
    change_budget_limit(budget=budget, limit_nanos=500, author_name="finance", reason="campaign")

    entry = AuditEntry.objects.get(action="changed")
    assert (entry.author_name, entry.reason, entry.subject_name) == ("finance", "campaign", "acme: day")
    assert (entry.before, entry.after) == ({"limit_nanos": 100}, {"limit_nanos": 500})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limit_nanos": -1}, "greater than or equal to 0"),
        ({"scope": BudgetScope.TAG, "tag": "apollo"}, "a tag such as project=apollo"),
        ({"tag": "project=apollo"}, "no other has one"),
        ({"scope": BudgetScope.POLICY}, "the field that the scope names"),
        ({"scope": BudgetScope.TENANT, "end_user": "mia"}, "the field that the scope names"),
    ],
)
def test_a_budget_that_contradicts_itself_is_refused_in_words(fields, words):
    with pytest.raises(BudgetNotSavedError, match=words):
        create_budget(
            tenant=make_tenant(), author_name="finance", **{"name": "odd", "limit_nanos": 1} | fields
        )


def test_a_name_serves_one_budget_of_a_tenant(budget):
    with pytest.raises(BudgetNotSavedError):
        create_budget(tenant=budget.tenant, name="day", limit_nanos=1, author_name="finance")
