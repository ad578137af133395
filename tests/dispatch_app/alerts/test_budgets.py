from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from dispatch_app.alerts.budgets import alert_about_budgets, alert_about_overages
from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.models import Alert, BudgetBalance
from policies_app.models import Budget, Tenant
from policies_app.routing.codes import BudgetAction, BudgetPeriod, BudgetScope
from policies_app.routing.periods import period_start
from tests.factories import make_tenant

pytestmark = pytest.mark.django_db
USD = 1_000_000_000


@pytest.fixture
def acme() -> Tenant:
    return make_tenant("acme")


def make_budget(tenant: Tenant, **fields: object) -> Budget:
    return Budget.objects.create(
        **{"tenant": tenant, "name": "month", "limit_nanos": 10 * USD, "alert_at_pcts": [50, 80, 100]}
        | fields
    )


def spend(budget: Budget, nanos: int, *, subject: str = "", since: datetime | None = None) -> None:
    """So much in the running period, or that which began then."""
    start = since or period_start(
        period=BudgetPeriod(budget.period), now=timezone.now(), zone=ZoneInfo(budget.tenant.time_zone)
    )
    BudgetBalance.objects.update_or_create(
        budget=budget,
        subject=subject,
        period_start=start,
        defaults={"settled_nanos": nanos, "reserved_nanos": 0, "overage_nanos": 0},
    )


def titles() -> list[str]:
    alert_about_budgets()
    return list(Alert.objects.order_by("created_at").values_list("title", flat=True))


def test_each_threshold_is_told_once_a_period(acme: Tenant) -> None:
    budget = make_budget(acme)
    told = []
    for nanos in (5 * USD - 1, 5 * USD, 6 * USD, 8 * USD, 10 * USD, 10 * USD):
        spend(budget, nanos)
        told.append(len(titles()))

    assert told == [0, 1, 1, 2, 3, 3]
    assert titles() == [f"acme: month has spent {pct} % of its limit" for pct in (50, 80, 100)]


def test_of_several_at_once_the_highest_is_told(acme: Tenant) -> None:
    spend(make_budget(acme), 9 * USD)

    assert titles() == ["acme: month has spent 80 % of its limit"]
    assert titles() == ["acme: month has spent 80 % of its limit"]


def test_a_new_period_is_told_anew_and_one_that_is_over_not_at_all(acme: Tenant) -> None:
    budget = make_budget(acme, period=BudgetPeriod.DAY)
    spend(budget, 10 * USD, since=datetime(2020, 1, 1, tzinfo=ZoneInfo("UTC")))
    assert titles() == []

    spend(budget, 10 * USD)
    assert len(titles()) == 1


def test_end_users_are_told_apart(acme: Tenant) -> None:
    budget = make_budget(acme, scope=BudgetScope.END_USER)
    spend(budget, 10 * USD, subject="ann")
    spend(budget, 1 * USD, subject="bob")

    assert titles() == ["acme: month of ann has spent 100 % of its limit"]
    assert Alert.objects.get().details["end_user"] == "ann"


@pytest.mark.parametrize(
    "fields", [{"alert_at_pcts": []}, {"enabled": False}, {"limit_nanos": 0}, {"limit_nanos": 100 * USD}]
)
def test_nothing_is_told_where_nothing_is_wanted_or_reached(acme: Tenant, fields: dict[str, object]) -> None:
    spend(make_budget(acme, **fields), 10 * USD)

    assert titles() == []


def test_a_soft_budget_tells_that_it_is_far_beyond(acme: Tenant) -> None:
    spend(make_budget(acme, action=BudgetAction.ALERT, alert_at_pcts=[100, 200]), 25 * USD)

    assert titles() == ["acme: month has spent 200 % of its limit"]
    assert Alert.objects.get().tenant == acme
    assert Alert.objects.get().details["spent_usd"] == "25.00"


def test_what_came_to_more_than_was_reserved_is_told_to_the_installation_once(acme: Tenant) -> None:
    budget = make_budget(acme)
    spend(budget, 1 * USD)
    BudgetBalance.objects.update(overage_nanos=7)

    for _ in range(2):
        alert_about_overages()

    alert = Alert.objects.get()
    assert (alert.kind, alert.tenant) == (AlertKind.BUDGET_OVERAGE, None)
    assert alert.details["above_reservations_usd"] == "0.000000007"
