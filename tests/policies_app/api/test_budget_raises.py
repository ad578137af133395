from datetime import timedelta

import pytest
from django.utils import timezone

from policies_app.models import BudgetRaise
from tests.factories import USD, make_budget, make_tenant
from tests.personas import api_client, make_finance

ADDRESS = "/api/v1/budget-raises/"


@pytest.fixture
def budget(db):
    return make_budget(make_tenant("acme"), limit_nanos=100 * USD)


def ask(client, budget, **fields):
    values = {"budget": budget.pk, "amount_nanos": 5 * USD, "reason": "fair"} | fields
    return client.post(ADDRESS, values, format="json")


def test_a_raise_shows_in_the_budgets_limit_until_it_is_withdrawn(finance, budget):
    asked = ask(finance, budget)

    assert (asked.status_code, asked.json()["state"]) == (201, "running")
    address = f"/api/v1/budgets/{budget.pk}/"
    shown = finance.get(address).json()
    assert (shown["limit_nanos"], shown["limit_now_nanos"]) == (100 * USD, 105 * USD)

    withdrawn = finance.post(f"{ADDRESS}{asked.json()['id']}/withdraw/", {"reason": "over"}, format="json")
    assert (withdrawn.status_code, withdrawn.json()["state"]) == (200, "withdrawn")
    assert finance.get(address).json()["limit_now_nanos"] == 100 * USD
    assert finance.post(f"{ADDRESS}{asked.json()['id']}/withdraw/").status_code == 409


def test_a_large_raise_takes_two(finance, budget, settings):
    settings.BUDGET_RAISE_ALONE_PCT = 10
    asked = ask(finance, budget, amount_nanos=11 * USD).json()
    address = f"{ADDRESS}{asked['id']}/confirm/"

    assert (asked["state"], asked["needs_second_person"]) == ("waiting", True)
    assert finance.post(address).status_code == 409
    assert api_client(make_finance()).post(address).json()["state"] == "running"


def test_a_limit_is_not_raised_past_the_second_person_either(finance, budget, settings):
    settings.BUDGET_RAISE_ALONE_PCT = 10

    answer = finance.patch(f"/api/v1/budgets/{budget.pk}/", {"limit_nanos": 111 * USD}, format="json")

    assert answer.status_code == 409
    assert "add a raise" in answer.json()["detail"]


def test_raises_are_listed_by_budget_and_tenant(finance, budget):
    ask(finance, budget)
    other = make_budget(make_tenant("beta"))
    ask(finance, other)

    of_tenant = finance.get(ADDRESS, {"tenant": "beta"}).json()["results"]
    of_budget = finance.get(ADDRESS, {"budget": budget.pk}).json()["results"]
    assert [row["budget"] for row in of_tenant + of_budget] == [other.pk, budget.pk]


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"amount_nanos": 0}, "amount_nanos"),
        ({"reason": ""}, "reason"),
        ({"ends_at": "2020-01-01T00:00:00Z"}, "ends_at"),
        ({"starts_at": timezone.now() + timedelta(days=2), "ends_at": timezone.now() + timedelta(days=1)}, "ends_at"),
        ({"needs_first_person": True}, "needs_first_person"),
    ],
)  # fmt: skip
def test_a_wrong_raise_is_refused_at_its_field(finance, budget, fields, wrong_field):
    answer = ask(finance, budget, **fields)

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])
    assert not BudgetRaise.objects.exists()
