from datetime import date

import pytest

from dispatch_app.models import RollupDay, RollupMonth
from tests.factories import make_model, make_tenant
from tests.personas import api_client, make_finance, make_ops

pytestmark = pytest.mark.django_db


def spend(tenant, *, cost_nanos, day=date(2026, 11, 5), model_id=0, rollup=RollupDay, **fields):
    period = {"day": day} if rollup is RollupDay else {"month": day.replace(day=1)}
    rollup.objects.bulk_create(
        [
            rollup(
                **period,
                **{
                    "tenant_id": tenant.pk,
                    "api_key_id": 0,
                    "end_user": "",
                    "task": "",
                    "policy_id": 0,
                    "model_id": model_id,
                    "outcome": "succeeded",
                    "dispatches": 1,
                    "attempts": 1,
                    "input_tokens": 10,
                    "cached_input_tokens": 0,
                    "cache_write_tokens": 0,
                    "output_tokens": 5,
                    "reasoning_tokens": 0,
                    "cost_nanos": cost_nanos,
                    "baseline_cost_nanos": 2 * cost_nanos,
                    "wasted_nanos": cost_nanos // 10,
                }
                | fields,
            )
        ]
    )


def costs(**query):
    answer = api_client(make_finance()).get("/api/v1/costs/", query)
    assert answer.status_code == 200, answer.json()
    return answer.json()["results"]


def test_costs_add_up_by_day():
    acme, beta = make_tenant("acme"), make_tenant("beta")
    spend(acme, cost_nanos=100)
    spend(beta, cost_nanos=20)
    spend(acme, cost_nanos=3, day=date(2026, 11, 6))

    sums = [(row["period"], row["cost_nanos"], row["wasted_nanos"], row["dispatches"]) for row in costs()]

    assert sums == [("2026-11-06", 3, 0, 1), ("2026-11-05", 120, 12, 2)]


def test_costs_are_split_by_name():
    acme = make_tenant("acme")
    small = make_model("small")
    spend(acme, cost_nanos=100, model_id=small.pk, task="chat")
    spend(acme, cost_nanos=20, task="chat")

    rows = costs(by=["model", "task"])

    assert {(row["model"], row["task"], row["cost_nanos"]) for row in rows} == {
        ("small", "chat", 100),
        ("", "chat", 20),
    }
    assert "tenant" not in rows[0]


def test_costs_of_one_tenant_hold_nothing_of_another():
    acme, beta = make_tenant("acme"), make_tenant("beta")
    spend(acme, cost_nanos=100)
    spend(beta, cost_nanos=20)

    assert [row["cost_nanos"] for row in costs(tenant="acme")] == [100]


def test_months_come_from_their_own_rollup_and_a_range_includes_both_ends():
    acme = make_tenant("acme")
    for month in (9, 10, 11):
        spend(acme, cost_nanos=month, day=date(2026, month, 5), rollup=RollupMonth)

    rows = costs(granularity="month", since="2026-09-01", until="2026-10-01")

    assert [(row["period"], row["cost_nanos"]) for row in rows] == [("2026-10-01", 10), ("2026-09-01", 9)]


@pytest.mark.parametrize(
    ("query", "wrong_field"),
    [
        ({"granularity": "decade"}, "granularity"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-02-01", "until": "2026-01-01"}, "until"),
        ({"tenant": "nobody"}, "tenant"),
        ({"by": "prompt"}, "by"),
    ],
)
def test_a_wrong_query_is_refused_at_its_field(query, wrong_field):
    answer = api_client(make_finance()).get("/api/v1/costs/", query)

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])


def test_ops_may_not_see_costs():
    assert api_client(make_ops()).get("/api/v1/costs/").status_code == 403
