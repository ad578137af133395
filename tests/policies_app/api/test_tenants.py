import pytest

from policies_app.api_key_format import parse_key
from policies_app.models import ApiKey, AuditEntry
from tests.factories import make_key, make_policy, make_tenant


def test_a_key_is_answered_once_and_never_again(ops):
    make_tenant("acme")

    created = ops.post("/api/v1/keys/", {"tenant": "acme", "label": "web"}, format="json")

    assert created.status_code == 201
    text = created.json()["key"]
    parsed = parse_key(text)
    assert parsed is not None
    assert parsed.public_id == created.json()["public_id"]
    later = ops.get(f"/api/v1/keys/{parsed.public_id}/")
    assert "key" not in later.json()
    everything = later.content.decode() + ops.get("/api/v1/keys/").content.decode()
    assert parsed.secret not in everything
    assert all(parsed.secret not in str(entry.after) for entry in AuditEntry.objects.all())


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"label": "taken"}, "label"),
        ({"label": ""}, "label"),
        ({"tenant": "nobody"}, "tenant"),
        ({"policies": ["of-beta"]}, "policies"),
        ({"policies": ["no-such"]}, "policies"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"public_id": "chosen", "secret_hmac": "x"}, "secret_hmac"),
    ],
)
def test_a_wrong_key_is_refused_at_its_field(ops, fields, wrong_field):
    acme = make_tenant("acme")
    make_key(acme, label="taken")
    make_policy("of-beta", tenant=make_tenant("beta"))

    answer = ops.post("/api/v1/keys/", {"tenant": "acme", "label": "web"} | fields, format="json")

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])
    assert ApiKey.objects.count() == 1


def test_a_key_cannot_move_to_another_tenant(ops):
    key = make_key(make_tenant("acme")).row
    make_tenant("beta")

    answer = ops.patch(f"/api/v1/keys/{key.public_id}/", {"tenant": "beta"}, format="json")

    assert (answer.status_code, list(answer.json())) == (400, ["tenant"])


def test_a_key_is_switched_off(ops):
    key = make_key(make_tenant("acme")).row

    ops.patch(f"/api/v1/keys/{key.public_id}/", {"enabled": False}, format="json")

    key.refresh_from_db()
    assert not key.enabled


def test_an_unknown_time_zone_is_refused_at_its_field(ops):
    answer = ops.post("/api/v1/tenants/", {"name": "acme", "time_zone": "Mars/Olympus"}, format="json")

    assert (answer.status_code, list(answer.json())) == (400, ["time_zone"])


def test_answers_are_kept_only_once_a_tenant_is_told_to(ops):
    created = ops.post("/api/v1/tenants/", {"name": "acme"}, format="json")
    assert created.json()["replay_answers"] is False

    changed = ops.patch("/api/v1/tenants/acme/", {"replay_answers": True}, format="json")

    assert changed.json()["replay_answers"] is True
