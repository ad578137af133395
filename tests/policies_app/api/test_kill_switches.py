import pytest

from policies_app.models import AuditEntry, KillSwitch
from tests.personas import api_client, make_admin


def throw(client, **fields):
    return client.post("/api/v1/kill-switches/", {"reason": "on fire"} | fields, format="json")


def test_ops_throw_a_switch_and_lift_it(ops, fleet):
    thrown = throw(ops, scope="model", model="small")

    assert thrown.status_code == 201
    assert thrown.json()["is_active"]
    lifted = ops.post(f"/api/v1/kill-switches/{thrown.json()['id']}/lift/")
    assert (lifted.status_code, lifted.json()["is_active"]) == (200, False)
    assert [entry.action for entry in AuditEntry.objects.order_by("id")] == ["thrown", "lifted"]
    assert KillSwitch.objects.get().lifted_by_name.startswith("ops-")


def test_lifting_twice_is_a_conflict(ops, fleet):
    address = f"/api/v1/kill-switches/{throw(ops, scope='everything').json()['id']}/lift/"
    ops.post(address)

    assert ops.post(address).status_code == 409


@pytest.mark.parametrize(
    ("fields", "wrong_field"),
    [
        ({"scope": "model"}, "model"),
        ({"scope": "model", "model": "no-such"}, "model"),
        ({"scope": "everything", "model": "small"}, "model"),
        ({"scope": "universe"}, "scope"),
        ({}, "scope"),
        ({"scope": "everything", "reason": ""}, "reason"),
        ({"scope": "everything", "expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
    ],
)
def test_a_wrong_switch_is_refused_at_its_field(ops, fleet, fields, wrong_field):
    answer = throw(ops, **fields)

    assert (answer.status_code, list(answer.json())) == (400, [wrong_field])
    assert not KillSwitch.objects.exists()


def test_finance_may_look_at_switches_and_neither_throw_nor_lift(finance, ops, fleet):
    thrown = throw(ops, scope="everything").json()

    assert finance.get("/api/v1/kill-switches/").status_code == 200
    assert throw(finance, scope="everything").status_code == 403
    assert finance.post(f"/api/v1/kill-switches/{thrown['id']}/lift/").status_code == 403


def test_a_switch_is_never_edited_or_deleted(ops, fleet):
    admin = api_client(make_admin())
    address = f"/api/v1/kill-switches/{throw(ops, scope='everything').json()['id']}/"

    assert admin.patch(address, {"reason": "never mind"}, format="json").status_code == 405
    assert admin.delete(address).status_code == 405
