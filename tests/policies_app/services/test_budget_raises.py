from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.db import IntegrityError

from policies_app.models import AuditEntry, BudgetRaise
from policies_app.services.budget_raises import (
    BudgetNotRaisedError,
    RaiseSettledError,
    confirm_raise,
    raise_budget,
    withdraw_raise,
)
from policies_app.services.budgets import change_budget_limit
from policies_app.services.errors import SecondPersonNeededError
from tests.factories import make_budget, make_tenant

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def clock(db):
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture
def budget():
    return make_budget(make_tenant("acme"), name="month", limit_nanos=1_000)


@pytest.fixture
def half_alone(settings):
    """One person may raise a budget by half of its limit."""
    settings.BUDGET_RAISE_ALONE_PCT = 50


def raised(budget, nanos=100, **fields):
    return raise_budget(
        budget=budget, amount_nanos=nanos, **{"reason": "fair", "author_name": "ann"} | fields
    )


def test_a_raise_is_to_come_then_runs_and_is_over_by_itself(budget, clock):
    asked = raised(budget, starts_at=NOW + DAY, ends_at=NOW + 2 * DAY)

    states = []
    for days in (0, 1, 2):
        clock.move_to(NOW + days * DAY)
        states.append(asked.state)

    assert states == ["to come", "running", "over"]


def test_without_a_limit_on_one_person_no_raise_takes_two(budget):
    assert raised(budget, 10**12).state == "running"
    change_budget_limit(budget=budget, limit_nanos=10**12, author_name="ann")


def test_a_raise_beyond_what_one_person_may_waits_for_somebody_else(budget, half_alone):
    asked = raised(budget, 501)

    assert asked.state == "waiting"
    with pytest.raises(SecondPersonNeededError, match="somebody else"):
        confirm_raise(budget_raise=asked, author_name="ann")
    assert confirm_raise(budget_raise=asked, author_name="bob", reason="agreed").state == "running"
    with pytest.raises(RaiseSettledError, match="is running"):
        confirm_raise(budget_raise=asked, author_name="bob")


def test_one_person_does_not_get_beyond_it_in_small_steps(budget, half_alone):
    raised(budget, 300, ends_at=NOW + DAY)

    assert raised(budget, 200).state == "running"
    assert raised(budget, 1).state == "waiting"
    # On the second day, only the raise without an end counts beside it.
    assert raised(budget, 300, starts_at=NOW + DAY).state == "to come"


def test_what_somebody_else_has_confirmed_is_not_held_against_the_next_raise(budget, half_alone):
    confirm_raise(budget_raise=raised(budget, 5_000), author_name="bob")

    assert raised(budget, 500).state == "running"


def test_the_limit_itself_is_not_raised_further_than_one_person_may(budget, half_alone):
    with pytest.raises(SecondPersonNeededError, match="add a raise"):
        change_budget_limit(budget=budget, limit_nanos=1_501, author_name="ann")

    budget.refresh_from_db()
    assert budget.limit_nanos == 1_000
    change_budget_limit(budget=budget, limit_nanos=1_500, author_name="ann")
    change_budget_limit(budget=budget, limit_nanos=1, author_name="ann")


def test_edits_of_the_limit_add_up_for_a_day(budget, half_alone, clock):
    change_budget_limit(budget=budget, limit_nanos=1_400, author_name="ann")

    with pytest.raises(SecondPersonNeededError):
        change_budget_limit(budget=budget, limit_nanos=1_600, author_name="ann")
    budget.refresh_from_db()
    assert raised(budget, 101).state == "waiting"
    clock.move_to(NOW + DAY)
    change_budget_limit(budget=budget, limit_nanos=2_100, author_name="ann")


def test_a_limit_that_was_lowered_by_mistake_is_restored_by_one_person(budget, half_alone):
    change_budget_limit(budget=budget, limit_nanos=1, author_name="ann")

    change_budget_limit(budget=budget, limit_nanos=1_000, author_name="ann")


def test_raises_on_one_persons_word_count_when_the_limit_is_edited(budget, half_alone):
    raised(budget, 400)

    with pytest.raises(SecondPersonNeededError):
        change_budget_limit(budget=budget, limit_nanos=1_101, author_name="ann")


def test_a_withdrawn_raise_is_neither_confirmed_nor_withdrawn_again(budget, half_alone):
    asked = withdraw_raise(budget_raise=raised(budget, 501), author_name="ann")

    assert asked.state == "withdrawn"
    with pytest.raises(RaiseSettledError):
        confirm_raise(budget_raise=asked, author_name="bob")
    with pytest.raises(RaiseSettledError):
        withdraw_raise(budget_raise=asked, author_name="ann")


def test_the_database_refuses_one_person_as_two(budget, half_alone):
    asked = raised(budget, 501)

    with pytest.raises(IntegrityError, match="budget_raise_confirmed_by_second_person"):
        BudgetRaise.objects.filter(pk=asked.pk).update(confirmed_by_name="ann", confirmed_at=NOW)


def test_who_asked_confirmed_and_withdrew_is_on_the_record(budget, half_alone):
    asked = raised(budget, 501)
    confirm_raise(budget_raise=asked, author_name="bob", reason="agreed")
    withdraw_raise(budget_raise=asked, author_name="eve", reason="enough")

    entries = AuditEntry.objects.filter(subject_type="budgetraise").order_by("pk")
    assert [(entry.action, entry.author_name, entry.reason) for entry in entries] == [
        ("created", "ann", "fair"),
        ("confirmed", "bob", "agreed"),
        ("withdrawn", "eve", "enough"),
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"nanos": 0},
        {"reason": ""},
        {"ends_at": NOW},
        {"starts_at": NOW + 2 * DAY, "ends_at": NOW + DAY},
    ],
)
def test_a_raise_that_makes_no_sense_is_refused(budget, fields):
    with pytest.raises(BudgetNotRaisedError):
        raised(budget, **fields)
