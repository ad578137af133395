import pytest

from dispatch_app.models import ServingProcess
from policies_app.models import AuditEntry, KillSwitch
from tests.factories import make_published_policy
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


def test_whoever_threw_a_switch_that_takes_two_cannot_lift_it_superuser_or_not(ops, fleet):
    admin = api_client(make_admin())
    thrown = throw(admin, scope="everything", lift_needs_second_person=True, hard=True).json()
    address = f"/api/v1/kill-switches/{thrown['id']}/lift/"

    refused = admin.post(address)
    assert (thrown["hard"], thrown["lift_needs_second_person"]) == (True, True)
    assert refused.status_code == 409
    assert "somebody else" in refused.json()["detail"]
    assert KillSwitch.objects.get().is_active

    assert ops.post(address, {"reason": "put out"}, format="json").status_code == 200
    assert AuditEntry.objects.get(action="lifted").reason == "put out"


def test_the_answer_has_a_receipt(ops, fleet):
    ServingProcess.objects.all().delete()  # those of other tests may still run

    thrown = ops.post(
        "/api/v1/kill-switches/?wait=0.1", {"scope": "everything", "reason": "fire"}, format="json"
    ).json()
    lifted = ops.post(f"/api/v1/kill-switches/{thrown['id']}/lift/").json()

    assert thrown["receipt"] == lifted["receipt"] == {"acknowledged": 0, "total": 0, "seconds": None}


@pytest.mark.parametrize("wait", ["-1", "11", "soon", "nan"])
def test_nothing_is_stopped_where_the_wait_is_no_time(ops, fleet, wait):
    answer = ops.post(
        f"/api/v1/kill-switches/?wait={wait}", {"scope": "everything", "reason": "fire"}, format="json"
    )

    assert (answer.status_code, list(answer.json())) == (400, ["wait"])
    assert not KillSwitch.objects.exists()


def test_a_preview_tells_what_would_be_stopped_and_stops_nothing(ops, finance, fleet):
    make_published_policy("auto", models=[fleet.small, fleet.mid])
    fields = {"scope": "model", "model": "small"}

    answer = ops.post("/api/v1/kill-switches/preview/", fields, format="json")

    assert answer.status_code == 200
    assert answer.json() == {
        "dispatches": 0,
        "of_dispatches": 0,
        "dispatch_share_pct": 0.0,
        "cost_share_pct": 0.0,
        "rules": [{"policy": "auto", "rule": "default", "lost": ["small"], "left": ["mid"]}],
    }
    assert not KillSwitch.objects.exists()
    assert ops.post("/api/v1/kill-switches/preview/", {"scope": "model"}, format="json").status_code == 400
    assert finance.post("/api/v1/kill-switches/preview/", fields, format="json").status_code == 403
