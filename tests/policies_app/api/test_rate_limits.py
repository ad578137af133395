import pytest

from policies_app.models import AuditEntry, RateLimit
from tests.factories import make_key, make_model, make_rate_limit, make_tenant


def new_limit(**fields):
    return {"scope": "tenant", "tenant": "acme", "kind": "requests_per_minute", "limit": 600} | fields


def test_ops_limit_a_tenant_a_key_and_a_model_and_change_a_limit(ops):
    key = make_key(make_tenant("acme")).row
    make_model("small")

    created = [
        ops.post("/api/v1/rate-limits/", body, format="json")
        for body in (
            new_limit(),
            {"scope": "api_key", "api_key": key.public_id, "kind": "tokens_per_minute", "limit": 90_000},
            {"scope": "model", "model": "small", "kind": "concurrent_dispatches", "limit": 8},
        )
    ]
    changed = ops.patch(f"/api/v1/rate-limits/{created[0].json()['id']}/", {"limit": 900}, format="json")

    assert [answer.status_code for answer in created] == [201, 201, 201]
    assert (changed.status_code, changed.json()["limit"]) == (200, 900)
    entry = AuditEntry.objects.get(subject_type="ratelimit", action="changed")
    assert (entry.before["limit"], entry.after["limit"]) == (600, 900)


def test_finance_read_limits_and_change_none(finance):
    limit = make_rate_limit(make_tenant("acme"), 600)

    assert finance.get(f"/api/v1/rate-limits/{limit.pk}/").json()["tenant"] == "acme"
    assert finance.post("/api/v1/rate-limits/", new_limit(), format="json").status_code == 403


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"scope": "model", "tenant": None}, "model"),
        ({"tenant": None}, "tenant"),
        ({"model": "small"}, "model"),  # the scope is the tenant
        ({"limit": 0}, "limit"),
        ({"limit": 10**10}, "limit"),
        ({"kind": "tokens_per_minute"}, "kind"),  # there is one
        ({"kind": "requests_per_hour"}, "kind"),
        ({"burst": 5}, "burst"),
    ],
)
def test_a_wrong_limit_is_refused_at_its_field(ops, fields, wrong_field):
    make_model("small")
    make_rate_limit(make_tenant("acme"), 90_000, "tokens_per_minute")

    answer = ops.post("/api/v1/rate-limits/", new_limit() | fields, format="json")

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])
    assert RateLimit.objects.count() == 1


def test_limits_are_found_by_tenant_and_by_kind(ops):
    make_rate_limit(make_tenant("acme"), 600)
    make_rate_limit(make_tenant("beta"), 300)

    answer = ops.get("/api/v1/rate-limits/", {"tenant": "beta", "kind": "requests_per_minute"})

    assert [row["limit"] for row in answer.json()["results"]] == [300]
