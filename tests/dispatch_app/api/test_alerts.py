import pytest
from rest_framework.test import APIClient

from dispatch_app.alerts.delivery import deliver_due
from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.raising import raise_alert
from dispatch_app.alerts.secrets import open_secret
from dispatch_app.models import AlertDestination
from policies_app.models import AuditEntry
from tests.dispatch_app.alerts.conftest import Received, receiver  # noqa: F401 - a fixture
from tests.factories import make_tenant
from tests.personas import api_client, make_finance, make_ops

pytestmark = pytest.mark.django_db(transaction=True)
DESTINATIONS = "/api/v1/alert-destinations/"
SECRET = "sixteen characters"


@pytest.fixture
def ops() -> APIClient:
    return api_client(make_ops())


def test_a_webhook_is_added_changed_and_removed_and_its_secret_never_shown(ops: APIClient) -> None:
    fields = {"name": "pager", "webhook_url": "https://pager.example/hook", "secret": SECRET}

    added = ops.post(DESTINATIONS, fields, format="json")
    changed = ops.patch(f"{DESTINATIONS}pager/", {"kinds": ["ledger"]}, format="json")

    assert added.status_code == 201
    assert added.json()["has_secret"] is True
    assert changed.json()["kinds"] == ["ledger"]
    assert SECRET not in added.content.decode() + changed.content.decode()
    assert open_secret(AlertDestination.objects.get()) == SECRET
    assert AuditEntry.objects.filter(subject_type="alertdestination").count() == 2
    assert ops.delete(f"{DESTINATIONS}pager/").status_code == 204


@pytest.mark.parametrize(
    ("fields", "field", "complaint"),
    [
        ({}, "non_field_errors", "an e-mail address or a webhook"),
        ({"webhook_url": "http://a.example/", "secret": SECRET}, "webhook_url", "must begin with https://"),
        ({"webhook_url": "https://a.example/"}, "secret", "needs a secret"),
        ({"webhook_url": "https://a.example/", "secret": "short"}, "secret", "at least 16"),
        ({"email": "a@example.com", "kinds": ["weather"]}, "kinds", "not a valid choice"),
    ],
)
def test_what_could_not_be_delivered_safely_is_refused(
    ops: APIClient, fields: dict[str, object], field: str, complaint: str
) -> None:
    answer = ops.post(DESTINATIONS, {"name": "x"} | fields, format="json")

    assert answer.status_code == 400
    assert field in answer.content.decode()
    assert complaint in answer.content.decode()
    assert not AlertDestination.objects.exists()


def test_a_test_alert_is_sent_and_read_with_what_became_of_it(
    ops: APIClient,
    receiver: Received,  # noqa: F811
) -> None:
    ops.post(
        DESTINATIONS,
        {"name": "hook", "webhook_url": receiver.url, "secret": SECRET, "allow_private_network": True},
        format="json",
    )

    sent = ops.post(f"{DESTINATIONS}hook/test/")
    deliver_due()

    assert sent.status_code == 202
    assert len(receiver.posts) == 1
    found = ops.get(f"/api/v1/alerts/{sent.json()['id']}/").json()
    assert [delivery["state"] for delivery in found["deliveries"]] == ["delivered"]


def test_amounts_of_a_tenant_are_for_those_who_may_see_costs() -> None:
    raise_alert(
        kind=AlertKind.BUDGET_THRESHOLD,
        key="1",
        tenant_id=make_tenant("acme").pk,
        title="80 %",
        details={"used": "8 USD"},
    )

    of_ops = api_client(make_ops()).get("/api/v1/alerts/?tenant=acme").json()["results"]
    of_finance = api_client(make_finance()).get("/api/v1/alerts/?kind=budget_threshold").json()["results"]

    assert [alert["title"] for alert in of_ops] == ["80 %"]
    assert "details" not in of_ops[0]
    assert of_finance[0]["details"] == {"used": "8 USD"}
