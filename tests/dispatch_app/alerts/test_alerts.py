import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from dispatch_app.alerts.delivery import deliver_due, payload_of
from dispatch_app.alerts.kinds import AlertKind, DeliveryState
from dispatch_app.alerts.raising import raise_alert
from dispatch_app.alerts.secrets import open_secret, seal_secret
from dispatch_app.alerts.webhook import sign
from dispatch_app.models import Alert, AlertDelivery, AlertDestination
from policies_app.models import Tenant
from tests.dispatch_app.alerts.conftest import Received
from tests.factories import make_tenant

SECRET = "a secret of more than sixteen letters"


def raise_one(key: str = "partitions:1", tenant: Tenant | None = None, **details: object) -> bool:
    return raise_alert(
        kind=AlertKind.PARTITIONS,
        key=key,
        tenant_id=tenant.pk if tenant else None,
        title="Few partitions are left",
        details=details,
    )


def make_webhook(url: str, **fields: object) -> AlertDestination:
    fields = {"name": "hook", "allow_private_network": True} | fields
    destination = AlertDestination.objects.create(webhook_url=url, **fields)
    seal_secret(destination, SECRET)
    return destination


def make_due() -> None:
    AlertDelivery.objects.update(next_try_at=timezone.now())


@pytest.mark.django_db
def test_an_alert_is_raised_once_for_each_kind_and_key() -> None:
    AlertDestination.objects.create(name="mail", email="ops@example.com")

    assert raise_one()
    assert not raise_one()
    assert raise_one("partitions:2")
    assert Alert.objects.count() == AlertDelivery.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_callers_at_once_one_raises_it() -> None:
    def call(_: int) -> bool:
        try:
            return raise_one()
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(call, range(16))) == 1
    assert Alert.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_an_alert_falls_with_its_callers_transaction() -> None:
    with transaction.atomic():
        raise_one()
        transaction.set_rollback(True)

    assert not Alert.objects.exists()


@pytest.mark.django_db
def test_it_goes_to_the_tenants_destinations_or_to_the_installations_and_to_those_who_want_it() -> None:
    tenant = make_tenant()
    everything = AlertDestination.objects.create(name="all", email="all@example.com")
    AlertDestination.objects.create(name="budgets", email="b@example.com", kinds=[AlertKind.BUDGET_THRESHOLD])
    AlertDestination.objects.create(name="off", email="off@example.com", enabled=False)
    of_tenant = AlertDestination.objects.create(name="tenant", email="t@example.com", tenant=tenant)
    AlertDestination.objects.create(name="other", email="o@example.com", tenant=make_tenant())

    raise_one("of the installation")
    raise_one("of the tenant", tenant=tenant)

    addressed = AlertDelivery.objects.values_list("alert__key", "destination_id").order_by("alert__key")
    assert list(addressed) == [("of the installation", everything.pk), ("of the tenant", of_tenant.pk)]


@pytest.mark.django_db(transaction=True)
def test_a_webhook_gets_a_signed_post_once(receiver: Received) -> None:
    make_webhook(receiver.url, tenant=(tenant := make_tenant("acme")))
    raise_one(tenant=tenant, days_left=3)

    assert deliver_due() == 1
    assert deliver_due() == 0

    ((headers, body),) = receiver.posts
    alert = Alert.objects.get()
    timestamp = int(headers["x-signalbox-timestamp"])
    assert abs(timestamp - timezone.now().timestamp()) < 60
    assert headers["x-signalbox-signature"] == sign(secret=SECRET, timestamp=timestamp, body=body)
    assert headers["x-signalbox-delivery"] == str(alert.pk)
    assert headers["content-type"] == "application/json"
    told = json.loads(body)
    assert told["id"] == str(alert.pk)
    assert told["title"] == "Few partitions are left"
    assert told["details"] == {"days_left": 3}
    assert (told["kind"], told["tenant"]) == ("partitions", "acme")
    delivery = AlertDelivery.objects.get()
    assert delivery.state == DeliveryState.DELIVERED
    assert delivery.delivered_at is not None


@pytest.mark.django_db
@pytest.mark.parametrize(("timestamp", "body"), [(1, b"{}"), (2, b"{ }")])
def test_a_signature_holds_for_one_timestamp_and_one_body(timestamp: int, body: bytes) -> None:
    assert sign(secret=SECRET, timestamp=timestamp, body=body) != sign(secret=SECRET, timestamp=2, body=b"{}")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("status", [302, 400, 500])
def test_what_is_not_taken_is_tried_again_later_and_later(receiver: Received, status: int) -> None:
    make_webhook(receiver.url)
    receiver.status, receiver.location = status, receiver.url
    raise_one()

    for tries, delay_s in ((1, 30), (2, 60), (3, 120)):
        make_due()
        deliver_due()
        delivery = AlertDelivery.objects.get()
        assert (delivery.tries, delivery.state) == (tries, DeliveryState.PENDING)
        assert f"status {status}" in delivery.last_error
        left_s = (delivery.next_try_at - timezone.now()).total_seconds()
        assert delay_s - 5 < left_s <= delay_s
    assert len(receiver.posts) == 3  # a redirect was not followed

    receiver.status = 204
    make_due()
    deliver_due()
    assert AlertDelivery.objects.get().state == DeliveryState.DELIVERED
    ids = {headers["x-signalbox-delivery"] for headers, _ in receiver.posts}
    assert len(ids) == 1


@pytest.mark.django_db(transaction=True)
def test_after_a_day_it_is_given_up(receiver: Received) -> None:
    make_webhook(receiver.url)
    receiver.status = 500
    raise_one()
    Alert.objects.update(created_at=timezone.now() - timedelta(days=1))

    deliver_due()

    assert AlertDelivery.objects.get().state == DeliveryState.FAILED
    make_due()
    assert deliver_due() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_private_address_is_never_dialled_unless_it_is_allowed(receiver: Received, scheme: str) -> None:
    make_webhook(receiver.url.replace("http", scheme, 1), allow_private_network=False)
    raise_one()

    deliver_due()

    assert receiver.posts == []
    assert AlertDelivery.objects.get().last_error


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_hangs_holds_up_its_own_alert_only(
    receiver: Received, letters: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatch_app.alerts.webhook.TOTAL_TIMEOUT_S", 0.3)
    receiver.stall = threading.Event()
    make_webhook(receiver.url)
    AlertDestination.objects.create(name="mail", email="ops@example.com")
    raise_one()

    deliver_due()
    receiver.stall.set()

    states = dict(AlertDelivery.objects.values_list("destination__name", "state"))
    assert states == {"hook": DeliveryState.PENDING, "mail": DeliveryState.DELIVERED}
    assert len(letters) == 1


@pytest.mark.django_db(transaction=True)
def test_a_letter_says_what_it_is_about(letters: list[str]) -> None:
    AlertDestination.objects.create(name="mail", email="ops@example.com")
    raise_one(days_left=3)

    deliver_due()

    (letter,) = letters
    assert "Subject: [Signalbox] Few partitions are left" in letter
    assert "To: ops@example.com" in letter
    assert "days left: 3" in letter


@pytest.mark.django_db(transaction=True)
def test_a_mail_server_that_is_away_is_tried_again(letters: list[str], settings) -> None:
    settings.EMAIL_PORT = 1
    AlertDestination.objects.create(name="mail", email="ops@example.com")
    raise_one()

    deliver_due()

    assert AlertDelivery.objects.get().state == DeliveryState.PENDING
    assert "ConnectionRefusedError" in AlertDelivery.objects.get().last_error


@pytest.mark.django_db(transaction=True)
def test_a_broker_that_is_away_harms_nobody(settings, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    def refuse(**_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("dispatch_app.alerts.tasks.deliver.apply_async", refuse)

    assert raise_one()
    assert Alert.objects.exists()


@pytest.mark.django_db
def test_a_secret_opens_in_its_own_row_only() -> None:
    first, second = make_webhook("https://a.example/"), make_webhook("https://b.example/", name="second")
    assert open_secret(first) == SECRET

    second.sealed_secret = first.sealed_secret
    second.save()
    raise_one()
    deliver_due()

    error = AlertDelivery.objects.get(destination=second).last_error
    assert "another row" in error
    assert SECRET not in json.dumps(payload_of(Alert.objects.get()), default=str)
