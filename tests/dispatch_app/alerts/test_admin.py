import pytest
from django.test import Client
from django.urls import reverse

from dispatch_app.alerts.delivery import deliver_due
from dispatch_app.alerts.secrets import open_secret
from dispatch_app.models import Alert, AlertDestination
from tests.dispatch_app.alerts.conftest import Received
from tests.dispatch_app.alerts.test_alerts import SECRET, make_webhook, raise_one
from tests.factories import make_tenant
from tests.personas import make_ops

pytestmark = pytest.mark.django_db(transaction=True)
ADD = "admin:dispatch_app_alertdestination_add"


@pytest.fixture
def ops(client: Client) -> Client:
    client.force_login(make_ops())
    return client


def test_a_webhook_is_added_with_its_secret_which_is_never_shown(ops: Client) -> None:
    fields = {"name": "pager", "webhook_url": "https://pager.example/hook", "enabled": "on"}
    assert "needs a secret" in ops.post(reverse(ADD), fields).content.decode()

    ops.post(reverse(ADD), fields | {"secret": SECRET})

    destination = AlertDestination.objects.get()
    assert open_secret(destination) == SECRET
    page = ops.get(reverse("admin:dispatch_app_alertdestination_change", args=(destination.pk,)))
    assert SECRET not in page.content.decode()


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "an e-mail address or a webhook"),
        ({"email": "a@example.com", "webhook_url": "https://a.example/"}, "an e-mail address or a webhook"),
        ({"webhook_url": "http://a.example/", "secret": SECRET}, "must begin with https://"),
        ({"webhook_url": "https://a.example/", "secret": "short"}, "at least 16"),
    ],
)
def test_what_could_not_be_delivered_safely_is_refused(
    ops: Client, fields: dict[str, str], complaint: str
) -> None:
    page = ops.post(reverse(ADD), {"name": "x", "enabled": "on"} | fields).content.decode()

    assert complaint in page
    assert not AlertDestination.objects.exists()


def test_a_test_alert_goes_to_that_destination_and_the_page_says_that_it_arrived(
    ops: Client, receiver: Received
) -> None:
    destination = make_webhook(receiver.url, kinds=["ledger"])
    make_webhook(receiver.url, name="other")

    address = reverse("admin:dispatch_app_alertdestination_send_test", args=(destination.pk,))
    ops.get(address)
    assert not Alert.objects.exists()
    answer = ops.post(address)
    deliver_due()

    assert len(receiver.posts) == 1
    assert "hook: delivered at" in ops.get(answer["Location"]).content.decode()


def test_details_of_a_tenants_alert_are_for_those_who_may_see_costs(ops: Client) -> None:
    raise_one(tenant=make_tenant(), spent="7.01")
    page = ops.get(reverse("admin:dispatch_app_alert_change", args=(Alert.objects.get().pk,)))
    assert "7.01" not in page.content.decode()
