import pytest

from policies_app.models import BudgetRaise
from policies_app.services.budget_raises import raise_budget
from tests.factories import USD, make_budget, make_tenant

ADD = "/admin/policies_app/budgetraise/add/"


@pytest.fixture
def budget(db):
    return make_budget(make_tenant("acme"), name="month", limit_nanos=100 * USD)


def ask(client, budget, **fields):
    values = {"starts_at_0": "2026-01-01", "starts_at_1": "00:00", "ends_at_0": "", "ends_at_1": ""}
    return client.post(
        ADD, values | {"budget": budget.pk, "amount_nanos": "5.5", "reason": "fair"} | fields, follow=True
    )


def test_finance_raise_a_budget_and_its_list_says_so(finance, budget):
    ask(finance, budget)

    raised = BudgetRaise.objects.get()
    assert (raised.amount_nanos, raised.state, raised.author_name[:8]) == (
        5_500_000_000,
        "running",
        "finance-",
    )
    assert "$105.50, raised" in finance.get("/admin/policies_app/budget/").content.decode()


def test_a_large_raise_waits_for_somebody_else(finance, admin, budget, settings):
    settings.BUDGET_RAISE_ALONE_PCT = 5
    page = ask(finance, budget).content.decode()
    address = f"/admin/policies_app/budgetraise/{BudgetRaise.objects.get().pk}/confirm/"

    assert "once somebody else has confirmed it" in page
    assert "somebody else has to confirm it" in finance.post(address, follow=True).content.decode()
    assert BudgetRaise.objects.get().state == "waiting"
    admin.get(address)
    assert BudgetRaise.objects.get().state == "waiting"
    assert "is running now" in admin.post(address, {"reason": "agreed"}, follow=True).content.decode()
    assert BudgetRaise.objects.get().state == "running"


def test_a_raise_is_withdrawn_after_a_question(finance, budget):
    raised = raise_budget(budget=budget, amount_nanos=1, reason="fair", author_name="ann")
    address = f"/admin/policies_app/budgetraise/{raised.pk}/withdraw/"

    finance.get(address)
    assert BudgetRaise.objects.get().state == "running"
    finance.post(address)
    assert BudgetRaise.objects.get().state == "withdrawn"


def test_the_form_of_a_budget_refuses_what_takes_two(finance, budget, errors_of, settings):
    settings.BUDGET_RAISE_ALONE_PCT = 5
    address = f"/admin/policies_app/budget/{budget.pk}/change/"
    form = finance.get(address).context["adminform"].form
    values = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    values = {name: value for name, value in values.items() if value is not None} | {"alert_at_pcts": "80"}

    assert list(errors_of(finance.post(address, values | {"limit_nanos": "105.01"}))) == ["limit_nanos"]
    assert finance.post(address, values | {"limit_nanos": "105"}).status_code == 302


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"reason": ""}, "reason"),
        ({"amount_nanos": "0"}, "amount_nanos"),
        ({"ends_at_0": "2020-01-01", "ends_at_1": "00:00"}, "ends_at"),
    ],
)
def test_a_wrong_raise_is_refused_at_its_field(finance, errors_of, budget, fields, wrong_field):
    assert wrong_field in errors_of(ask(finance, budget, **fields))
