"""Several credentials of one provider in real web processes: who is called with which, and what becomes of one at fault."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from django.db.models import QuerySet
from knox.models import AuthToken

from dispatch_app.alerts.targets import alert_about_targets
from dispatch_app.health.targets import read_fleet
from dispatch_app.models import Alert, TargetHealth
from policies_app.models import Credential
from policies_app.services.credentials import mend_credential, set_provider_secret
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.personas import make_ops
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop, until

pytestmark = pytest.mark.processes
FIRST, SECOND = "sk-first-of-two-1111", "sk-second-of-two-2222"
NAMES = {"first …1111", "second …2222"}


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    """A shop whose provider has two credentials of the same weight. No breaker remembers them: they are new."""
    shop = open_shop(vendor)
    Credential.objects.all().delete()
    for label, secret in (("first", FIRST), ("second", SECOND)):
        credential = Credential.objects.create(provider=shop.fleet.provider, label=label)
        set_provider_secret(credential=credential, secret=secret, author_name="test")
    gateway.catch_up()
    return shop


def ask(gateway: RunningGateway, shop: Shop, **options: object) -> str:
    """The model that answered."""
    messages = [{"role": "user", "content": "Hi"}]
    client = gateway.client(shop.key)
    return client.chat.completions.create(
        **{"model": "auto", "messages": messages, "max_tokens": 5} | options
    ).model


def ask_in_vain(gateway: RunningGateway, shop: Shop) -> tuple[int, str]:
    """The status and the code of the error."""
    body = {"model": "auto", "messages": [{"role": "user", "content": "Hi"}]}
    answer = gateway.post("/v1/chat/completions", shop.key, json=body)
    return answer.status_code, answer.json()["error"]["code"]


def healths(shop: Shop) -> QuerySet[TargetHealth]:
    """What processes tell of the shop's targets; the one that tests share may still tell of others."""
    return TargetHealth.objects.filter(provider_id=shop.fleet.provider.pk)


def calls_by_credential() -> Counter[str]:
    return Counter(row["credential"] for row in attempt_rows() if not row["fault"])


def test_calls_are_shared_by_weight_and_the_log_has_whose_each_was(
    gateway: RunningGateway, shop: Shop, vendor: SandboxServer
) -> None:
    Credential.objects.filter(label="second").update(weight=4)
    gateway.catch_up()

    for _ in range(100):
        ask(gateway, shop)

    shared = calls_by_credential()
    shown = Counter(dict(request.headers)["authorization"] for request in vendor.journal.requests)
    assert 65 <= shared["second …2222"] <= 94
    assert shown[f"Bearer {SECOND}"] == shared["second …2222"]
    assert shown[f"Bearer {FIRST}"] == shared["first …1111"]


def test_requests_of_one_user_stay_with_one_credential(gateway: RunningGateway, shop: Shop) -> None:
    for _ in range(10):
        ask(gateway, shop, user="ann")

    assert len(calls_by_credential()) == 1


def test_a_refused_credential_gives_way_and_everybody_is_told(
    gateway: RunningGateway,
    shop: Shop,
    vendor: SandboxServer,
    start_gateways: Callable[..., Sequence[RunningGateway]],
) -> None:
    [other] = start_gateways(1)
    other.catch_up()
    vendor.script("401", key=FIRST)

    while not (refused := [row for row in attempt_rows() if row["fault"]]):
        assert ask(gateway, shop) == "small"

    [row] = refused
    [again] = [found for found in attempt_rows() if found["role"] == "rotation"]
    assert (row["fault"], row["credential"]) == ("credential_refused", "first …1111")
    assert (again["model_id"], again["credential"]) == (row["model_id"], "second …2222")
    assert row["cost_nanos"] == 0

    # The other process hears of it, and the decision of both still names the model.
    until(lambda: healths(shop).filter(is_learned=True, credential="first …1111").exists())
    for process in (gateway, other) * 10:
        assert ask(process, shop) == "small"
    assert sum(bool(found["fault"]) for found in attempt_rows()) == 1

    alert_about_targets()
    [alert] = Alert.objects.filter(details__provider=shop.fleet.provider.name)
    assert alert.kind == "credential_refused"
    assert alert.details["credential"] == "first …1111"
    assert "first …1111" in alert.title
    cards = [card for card in read_fleet().cards if card.model.name == "small"]
    states = {card.place[0]: card.state.value for card in cards}
    assert states == {"first …1111": "open", "second …2222": "healthy"}


def test_a_limited_credential_rests_as_long_as_its_vendor_says(
    gateway: RunningGateway, shop: Shop, vendor: SandboxServer
) -> None:
    vendor.script(Fault(kind=FaultKind.STATUS, status=429, retry_after="1"), key=FIRST, times=1)
    while not any(row["fault"] for row in attempt_rows()):
        assert ask(gateway, shop) == "small"

    limited_at = time.monotonic()
    while set(calls_by_credential()) != NAMES:
        before = calls_by_credential()
        assert ask(gateway, shop) == "small"
        if time.monotonic() - limited_at < 0.9:
            assert calls_by_credential()["first …1111"] == before["first …1111"]
        assert time.monotonic() - limited_at < 10
    assert sum(bool(row["fault"]) for row in attempt_rows()) == 1


def test_without_a_credential_that_works_the_next_model_is_asked(
    gateway: RunningGateway, shop: Shop, vendor: SandboxServer
) -> None:
    vendor.script("401", model="sandbox-small")

    assert ask(gateway, shop) == "mid"

    rows = attempt_rows()
    assert [row["role"] for row in rows] == ["primary", "rotation", "fallback"]
    assert {row["credential"] for row in rows[:2]} == NAMES
    [dispatch] = dispatch_rows()
    assert dispatch["attempts"] == 3

    # From now on the decision leaves the model out.
    assert ask(gateway, shop) == "mid"
    assert len(attempt_rows()) == 4


def test_a_secret_that_is_replaced_works_at_once(
    gateway: RunningGateway, shop: Shop, vendor: SandboxServer
) -> None:
    credential = Credential.objects.get(label="first")
    Credential.objects.filter(label="second").update(enabled=False)
    gateway.catch_up()
    vendor.script("401", key=FIRST)
    assert ask_in_vain(gateway, shop) == (502, "upstream_unreachable")

    set_provider_secret(credential=credential, secret="sk-replaced-secret-9999", author_name="ops")
    replaced_at = time.monotonic()
    gateway.catch_up()
    caught_up_s = time.monotonic() - replaced_at

    assert ask(gateway, shop) == "small"
    assert attempt_rows()[-1]["credential"] == "first …9999"
    assert caught_up_s < 0.25


def test_a_credential_that_is_declared_mended_takes_traffic_at_once(
    gateway: RunningGateway, shop: Shop, vendor: SandboxServer
) -> None:
    credential = Credential.objects.get(label="first")
    Credential.objects.filter(label="second").update(enabled=False)
    gateway.catch_up()
    vendor.script("401", key=FIRST)
    assert ask_in_vain(gateway, shop) == (502, "upstream_unreachable")
    until(lambda: healths(shop).filter(cause="credential").exists())

    vendor.clear_faults()
    mend_credential(credential=credential, author_name="ops")
    gateway.catch_up()

    assert ask(gateway, shop) == "small"
    assert attempt_rows()[-1]["credential"] == "first …1111 #2"


def test_a_variable_that_is_not_set_is_no_credential(gateway: RunningGateway, shop: Shop) -> None:
    Credential.objects.filter(label="first").update(
        sealed_secret=None, last_four="", environment_variable="NOT_SET_ANYWHERE"
    )
    gateway.catch_up()
    for _ in range(10):
        assert ask(gateway, shop) == "small"
    assert set(calls_by_credential()) == {"second …2222"}

    Credential.objects.filter(label="second").delete()
    gateway.catch_up()
    assert ask_in_vain(gateway, shop) == (502, "upstream_unreachable")
    last = attempt_rows()[-1]
    assert (last["fault"], last["cost_nanos"]) == ("credential_refused", 0)
    assert "NOT_SET_ANYWHERE is not set" in last["credential"]


def test_a_test_of_a_credential_holds_up_no_request(
    gateway: RunningGateway, shop: Shop, vendor: SandboxServer
) -> None:
    vendor.script(Fault(delay_ms=3_000), contains="ping")
    credential = Credential.objects.get(label="first")
    _, token = AuthToken.objects.create(user=make_ops())

    with ThreadPoolExecutor() as pool:
        testing = pool.submit(
            httpx.post,
            f"{gateway.url}/api/v1/credentials/{credential.pk}/test/",
            headers={"authorization": f"Bearer {token}"},
            timeout=30,
        )
        until(lambda: any(b"ping" in request.body for request in vendor.journal.requests))
        for _ in range(5):
            assert ask(gateway, shop) == "small"
        assert not testing.done()
        report = testing.result().json()

    assert report["answered"]
    assert report["latency_ms"] >= 3_000
    [tested] = [row for row in dispatch_rows() if row["task"] == "connection-tests"]
    assert tested["cost_nanos"] == report["cost_nanos"] > 0
