"""Tests of credentials by the staff: a real call, that costs, is guarded and is logged like any other."""

import socket
from typing import Any

import pytest
from django.test import Client

from dispatch_app.credentials.connection import ConnectionReport, check_connection
from dispatch_app.fleet.account import CONNECTION_TESTS
from policies_app.models import ApiKey, Budget, Credential, KillSwitch, Model, Provider, Tenant
from policies_app.routing.codes import KillScope
from policies_app.services.credentials import set_provider_secret
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import USD, make_model, make_provider
from tests.personas import api_client, make_finance, make_ops
from tests.running_servers import VENDOR_SECRET, Shop, attempt_rows, dispatch_rows, open_shop

UNKNOWN = (
    "does not know what was asked for (HTTP 404)."
    " Are the base URL and the model's wire name, sandbox-small, right?"
)
CANARY = "canary http://internal.host/"


@pytest.fixture
def shop(vendor: SandboxServer, transactional_db: None) -> Shop:
    return open_shop(vendor)


@pytest.fixture
def credential(shop: Shop) -> Credential:
    return Credential.objects.get(provider=shop.fleet.provider)


def check(credential: Credential) -> ConnectionReport:
    return check_connection(credential=credential, author_name="ada")


def test_the_cheapest_model_answers_and_the_answer_is_paid_for_and_logged(
    vendor: SandboxServer, shop: Shop, credential: Credential
) -> None:
    report = check(credential)

    [dispatch] = dispatch_rows()
    [attempt] = attempt_rows()
    [entry] = vendor.ledger.entries
    assert (report.answered, report.model) == (True, "small")
    assert report.words.startswith("small answered in ")
    assert report.cost_nanos == dispatch["cost_nanos"] == entry.cost_nanos > 0
    assert attempt["credential"] == "test …1234"
    assert dispatch["id"].hex == report.dispatch_id.replace("-", "")
    assert dispatch["tenant_id"] == Tenant.objects.get(name=CONNECTION_TESTS).pk
    assert (dispatch["task"], dispatch["tags"]) == (CONNECTION_TESTS, {"asked_for_by": "ada"})
    assert not ApiKey.objects.get(tenant__name=CONNECTION_TESTS).enabled
    assert Budget.objects.get(tenant__name=CONNECTION_TESTS).limit_nanos == USD


def test_just_the_one_credential_is_tried_enabled_or_not(
    vendor: SandboxServer, shop: Shop, credential: Credential
) -> None:
    spare = Credential.objects.create(provider=shop.fleet.provider, label="spare", enabled=False)
    set_provider_secret(credential=spare, secret="sk-spare-secret-5678", author_name="ops")
    vendor.script("401", key="sk-spare-secret-5678")

    report = check(spare)

    assert (report.answered, report.words) == (
        False,
        f"{shop.fleet.provider.name} refuses this credential (HTTP 401).",
    )
    assert [row["credential"] for row in attempt_rows()] == ["spare …5678"]
    assert report.cost_nanos == 0
    assert check(credential).answered


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(kind=FaultKind.STATUS, status=429), "knows this credential, and limits its rate (HTTP 429)."),
        (
            Fault(kind=FaultKind.STATUS, status=429, code="insufficient_quota"),
            "knows this credential, and gives it no more credit (HTTP 429).",
        ),
        (
            Fault(kind=FaultKind.STATUS, status=404),
            UNKNOWN,
        ),
        (Fault(kind=FaultKind.STATUS, status=422), "did not take the request (HTTP 422)."),
        (Fault(kind=FaultKind.STATUS, status=503), "failed (HTTP 503)."),
        (
            Fault(kind=FaultKind.REDIRECT),
            "answered with a redirect (HTTP 302), which is not followed. Is the base URL right?",
        ),
        (Fault(kind=FaultKind.RESET), "broke the connection off."),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_what_went_wrong_is_told_in_words_of_our_own(
    vendor: SandboxServer, shop: Shop, credential: Credential, fault: Fault, words: str
) -> None:
    spoken = {name: getattr(fault, name) for name in fault.__struct_fields__} | {"message": CANARY}
    vendor.script(Fault(**spoken))

    report = check(credential)

    assert (report.answered, report.words) == (False, f"{shop.fleet.provider.name} {words}")
    assert len(attempt_rows()) == 1


def test_what_answers_in_another_language_is_told(
    vendor: SandboxServer, shop: Shop, credential: Credential
) -> None:
    vendor.script(Fault(kind=FaultKind.HTML))

    assert check(credential).words == "What answered there does not speak OpenAI chat."


def test_a_private_address_is_not_dialled(vendor: SandboxServer, shop: Shop, credential: Credential) -> None:
    port = vendor.port
    Provider.objects.update(allow_private_network=False, base_url=f"https://127.0.0.1:{port}/v1")
    accepted = vendor.connections.accepted

    report = check(credential)

    assert report.words.endswith(
        "could not be reached: its address is not one of the public internet,"
        " and the provider may not use private networks."
    )
    assert vendor.connections.accepted == accepted
    assert report.cost_nanos == 0


@pytest.mark.parametrize(
    ("base_url", "words"),
    [
        ("https://no-such-host.invalid/v1", "its name cannot be resolved"),
        ("http://127.0.0.1:{closed}/v1", "it refuses connections"),
    ],
)
def test_why_nothing_was_reached_is_told(credential: Credential, base_url: str, words: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        Provider.objects.update(base_url=base_url.format(closed=probe.getsockname()[1]))

        report = check(credential)

    assert report.words.endswith(f"could not be reached: {words}.")


def test_a_variable_that_is_not_set_calls_nobody(shop: Shop) -> None:
    outside = Credential.objects.create(
        provider=shop.fleet.provider, label="outside", environment_variable="NOT_SET_ANYWHERE"
    )

    assert check(outside).words == "It cannot be called: the variable NOT_SET_ANYWHERE is not set."
    assert not dispatch_rows()


def test_without_a_model_that_has_a_price_nobody_is_called(transactional_db: None) -> None:
    provider = make_provider("bare", base_url="http://127.0.0.1:9/v1")
    make_model("free", provider=provider, input_nanos=None)
    credential = Credential.objects.create(provider=provider, label="main")
    set_provider_secret(credential=credential, secret=VENDOR_SECRET, author_name="ops")

    assert check(credential).words == ("No model of bare can be called. It takes one that has a price.")


def test_budget_and_kill_switches_hold_for_tests_too(shop: Shop, credential: Credential) -> None:
    check(credential)
    Budget.objects.filter(tenant__name=CONNECTION_TESTS).update(limit_nanos=1)
    assert check(credential).words == "The budget of such tests, connection-tests, is used up."

    Budget.objects.filter(tenant__name=CONNECTION_TESTS).update(limit_nanos=USD)
    KillSwitch.objects.create(scope=KillScope.PROVIDER, provider=shop.fleet.provider, reason="test")
    stopped = check(credential)
    assert not stopped.answered
    assert "kill switch" in stopped.words
    assert len(attempt_rows()) == 1


def test_the_page_asks_first_and_then_shows_what_came_of_it(
    shop: Shop, credential: Credential, client: Client
) -> None:
    client.force_login(make_ops())
    address = f"/admin/policies_app/provider/credentials/{credential.pk}/test/"

    asked = client.get(address).content.decode()
    assert "The call costs a little" in asked
    assert not dispatch_rows()

    answered = client.post(address).content.decode()
    assert "small answered in" in answered
    assert str(dispatch_rows()[0]["id"]) in answered
    assert VENDOR_SECRET not in answered
    row = client.get(f"/admin/policies_app/provider/{shop.fleet.provider.pk}/change/").content.decode()
    assert address in row
    assert "not called in the last 15 minutes" in row


def test_whoever_may_not_change_credentials_may_not_spend_money_on_them(
    shop: Shop, credential: Credential, client: Client
) -> None:
    client.force_login(make_finance())
    address = f"/admin/policies_app/provider/credentials/{credential.pk}/test/"

    page = client.get(f"/admin/policies_app/provider/{shop.fleet.provider.pk}/change/").content.decode()
    answer = client.post(address)

    assert "not called in the last 15 minutes" in page
    assert address not in page
    assert answer.status_code == 403
    assert not dispatch_rows()


def test_the_management_api_tests_a_credential_and_tells_its_state(
    shop: Shop, credential: Credential
) -> None:
    ops: Any = api_client(make_ops())

    report = ops.post(f"/api/v1/credentials/{credential.pk}/test/").json()
    state = ops.get(f"/api/v1/credentials/{credential.pk}/state/").json()

    assert (report["answered"], report["model"]) == (True, "small")
    assert report["words"].startswith("small answered in ")
    assert state == {"state": "not called in the last 15 minutes"}
    assert Model.objects.filter(name="small").exists()
