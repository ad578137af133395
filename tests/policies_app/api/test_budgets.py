import pytest

from policies_app.models import AuditEntry, Budget
from tests.factories import USD, make_budget, make_key, make_tenant


def new_budget(**fields):
    return {"tenant": "acme", "name": "monthly", "limit_nanos": 250 * USD} | fields


def test_finance_set_a_budget_and_change_its_limit(finance):
    make_tenant("acme")

    created = finance.post("/api/v1/budgets/", new_budget(), format="json")
    changed = finance.patch(
        f"/api/v1/budgets/{created.json()['id']}/", {"limit_nanos": 300 * USD}, format="json"
    )

    assert (created.status_code, changed.status_code) == (201, 200)
    assert Budget.objects.get().limit_nanos == 300 * USD
    entry = AuditEntry.objects.get(subject_type="budget", action="changed")
    assert (entry.before["limit_nanos"], entry.after["limit_nanos"]) == (250 * USD, 300 * USD)


def test_percentages_of_alerts_are_kept_in_order_and_once(finance):
    make_tenant("acme")

    created = finance.post("/api/v1/budgets/", new_budget(alert_at_pcts=[100, 50, 100]), format="json")

    assert created.json()["alert_at_pcts"] == [50, 100]


def test_ops_read_budgets_and_change_none(ops):
    budget = make_budget(make_tenant("acme"))

    assert ops.get(f"/api/v1/budgets/{budget.pk}/").status_code == 200
    assert ops.post("/api/v1/budgets/", new_budget(), format="json").status_code == 403
    assert ops.patch(f"/api/v1/budgets/{budget.pk}/", {"limit_nanos": 1}, format="json").status_code == 403


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"scope": "api_key"}, "api_key"),
        ({"scope": "policy"}, "policy"),
        ({"scope": "tag"}, "tag"),
        ({"scope": "tag", "tag": "apollo"}, "tag"),
        ({"tag": "project=apollo"}, "tag"),
        ({"month_begins_on": 0}, "month_begins_on"),
        ({"month_begins_on": 32}, "month_begins_on"),
        ({"end_user": "ann"}, "end_user"),  # the scope is the tenant
        ({"limit_nanos": -1}, "limit_nanos"),
        ({"limit_nanos": 10**30}, "limit_nanos"),
        ({"limit_nanos": 0.5}, "limit_nanos"),
        ({"limit_usd": 5}, "limit_usd"),
        ({"small_from_pct": 101}, "small_from_pct"),
        ({"mid_from_pct": 90, "small_from_pct": 80}, "mid_from_pct"),
        ({"action": "downgrade", "small_from_pct": None}, "small_from_pct"),
        ({"alert_at_pcts": [0]}, "alert_at_pcts"),
        ({"period": "fortnight"}, "period"),
        ({"name": "taken"}, "name"),
    ],
)
def test_a_wrong_budget_is_refused_at_its_field(finance, fields, wrong_field):
    make_budget(make_tenant("acme"), name="taken")

    answer = finance.post("/api/v1/budgets/", new_budget() | fields, format="json")

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])
    assert Budget.objects.count() == 1


def test_a_budget_on_a_key_of_another_tenant_is_refused(finance):
    make_tenant("acme")
    key = make_key(make_tenant("beta")).row

    answer = finance.post(
        "/api/v1/budgets/", new_budget(scope="api_key", api_key=key.public_id), format="json"
    )

    assert (answer.status_code, list(answer.json())) == (400, ["api_key"])
