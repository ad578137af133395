from policies_app.models import AuditEntry, RateLimit
from tests.factories import make_rate_limit, make_tenant

ADD = "/admin/policies_app/ratelimit/add/"


def test_ops_limit_a_tenant_and_the_list_says_so(ops):
    tenant = make_tenant("acme")

    saved = ops.post(
        ADD,
        {
            "scope": "tenant",
            "tenant": tenant.pk,
            "kind": "requests_per_minute",
            "limit": 6000,
            "enabled": "on",
        },
    )

    assert saved.status_code == 302
    assert AuditEntry.objects.filter(subject_type="ratelimit", action="created").exists()
    shown = ops.get("/admin/policies_app/ratelimit/").content.decode()
    assert "acme" in shown
    assert "6,000" in shown


def test_a_limit_that_names_the_wrong_subject_is_refused_at_the_field(ops, fleet, errors_of):
    answer = ops.post(
        ADD,
        {
            "scope": "tenant",
            "model": fleet.small.pk,
            "kind": "requests_per_minute",
            "limit": 60,
            "enabled": "on",
        },
    )

    assert set(errors_of(answer)) == {"tenant", "model"}
    assert not RateLimit.objects.exists()


def test_a_second_limit_of_a_kind_is_refused_in_words(ops, errors_of):
    limit = make_rate_limit(make_tenant("acme"), 60)

    answer = ops.post(
        ADD, {"scope": "tenant", "tenant": limit.tenant_id, "kind": limit.kind, "limit": 90, "enabled": "on"}
    )

    assert errors_of(answer) == {"__all__": ["There is a limit of this kind already: change that one."]}


def test_a_limit_is_switched_off_and_never_deleted(ops):
    limit = make_rate_limit(make_tenant("acme"), 60)

    page = f"/admin/policies_app/ratelimit/{limit.pk}/"
    ops.post(
        f"{page}change/", {"scope": "tenant", "tenant": limit.tenant_id, "kind": limit.kind, "limit": 60}
    )

    limit.refresh_from_db()
    assert not limit.enabled
    assert ops.post(f"{page}delete/", {"post": "yes"}).status_code == 403
