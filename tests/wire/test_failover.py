"""What a client gets, and who pays what, when vendors misbehave."""

import json
import socket
import time
from typing import Any

import openai
import pytest

from policies_app.models import Provider
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import make_model, make_policy, make_provider
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop, publish

QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
ASKED = {"model": "auto", "messages": QUESTION, "max_tokens": 40}
FIRST_BYTE_TIMEOUT = 300


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    shop = open_shop(vendor)
    shop.fleet.provider.first_byte_timeout_ms = FIRST_BYTE_TIMEOUT
    shop.fleet.provider.idle_timeout_ms = FIRST_BYTE_TIMEOUT
    shop.fleet.provider.save()
    gateway.catch_up()
    return shop


FAULTS = [
    (Fault(kind=FaultKind.STATUS, status=429), "rate_limited"),
    (Fault(kind=FaultKind.STATUS, status=500), "server_error"),
    (Fault(kind=FaultKind.HANG), "first_byte_timeout"),
    (Fault(kind=FaultKind.RESET), "truncated"),
    (Fault(kind=FaultKind.HTML), "invalid_reply"),
    (Fault(kind=FaultKind.REDIRECT), "redirected"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "told"), FAULTS, ids=[told for _, told in FAULTS])
def test_the_next_model_answers_when_one_fails(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, *, fault: Fault, told: str, stream: bool
) -> None:
    vendor.script(fault, model="sandbox-small")

    reply = gateway.client(shop.key).chat.completions.create(**ASKED, stream=stream)
    models = {chunk.model for chunk in reply} if stream else {reply.model}

    first, second = attempt_rows()
    assert models == {"mid"}
    assert (first["fault"], second["fault"]) == (told, "")
    assert (first["role"], second["role"]) == ("primary", "fallback")
    assert dispatch_rows()[0]["attempts"] == 2
    assert dispatch_rows()[0]["cost_nanos"] >= vendor.ledger.total_nanos


def test_the_next_provider_answers_when_a_connection_is_refused(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = make_provider(base_url=f"http://127.0.0.1:{probe.getsockname()[1]}/v1")
    publish(make_policy("careful", models=[make_model("dead", provider=dead), shop.fleet.small]))
    gateway.catch_up()

    reply = gateway.client(shop.key).chat.completions.create(model="careful", messages=QUESTION)

    first, _ = attempt_rows()
    assert reply.model == "small"
    assert (first["fault"], first["state"], first["cost_nanos"]) == ("unreachable", "voided", 0)


def test_a_rate_limit_that_nobody_escapes_says_when_to_come_back(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(Fault(kind=FaultKind.STATUS, status=429, retry_after="7"))

    with pytest.raises(openai.RateLimitError) as raised:
        gateway.client(shop.key).chat.completions.create(**ASKED)

    assert raised.value.code == "rate_limit_exceeded"
    assert raised.value.response.headers["retry-after"] == "7"
    assert raised.value.response.headers["x-dispatch-attempts"] == "3"
    assert dispatch_rows()[0]["cost_nanos"] == 0


def test_what_a_vendor_says_of_an_error_is_not_passed_on(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(
        Fault(kind=FaultKind.STATUS, status=400, message="canary http://internal.host/", code="canary")
    )

    with pytest.raises(openai.BadRequestError) as raised:
        gateway.client(shop.key).chat.completions.create(**ASKED)

    assert "canary" not in raised.value.response.text
    assert raised.value.code == "request_rejected"
    assert len(attempt_rows()) == 1


def test_a_vendor_that_refuses_our_credential_is_never_told_as_a_401(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script("401")

    answer = gateway.post("/v1/chat/completions", shop.key, json=ASKED)

    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind=FaultKind.CUT, after_bytes=1_200),
        Fault(kind=FaultKind.RESET, after_bytes=1_200),
        Fault(kind=FaultKind.HANG, after_bytes=1_200),
        Fault(kind=FaultKind.STREAM_ERROR, after_chunks=3, message="canary"),
        Fault(kind=FaultKind.MISSING_DONE),
        Fault(kind=FaultKind.ENDLESS_LINE, size_bytes=4_000_000),
    ],
    ids=lambda fault: fault.kind,
)
def test_a_stream_that_breaks_off_ends_with_an_error_and_no_end_mark(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, fault: Fault
) -> None:
    vendor.script(fault)

    answer = gateway.post("/v1/chat/completions", shop.key, json=ASKED | {"stream": True})

    (dispatch,) = dispatch_rows()
    if answer.status_code == 200:
        *_, last = [line for line in answer.text.split("\n") if line]
        assert "error" in json.loads(last.removeprefix("data: "))
    assert "[DONE]" not in answer.text
    assert "canary" not in answer.text
    assert dispatch["status"] == "failed"
    assert dispatch["cost_nanos"] >= vendor.ledger.total_nanos


def test_the_official_client_raises_when_a_stream_breaks_off(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(Fault(kind=FaultKind.CUT, after_bytes=1_200))

    with pytest.raises(openai.APIError):
        list(gateway.client(shop.key).chat.completions.create(**ASKED, stream=True))


@pytest.mark.parametrize(
    "usage",
    [
        {"completion_tokens": -1},
        {"completion_tokens": 10**12},
        {"prompt_tokens": 10**30},
    ],
)
def test_absurd_usage_is_charged_at_the_bound(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, usage: dict[str, Any]
) -> None:
    vendor.script(Fault(kind=FaultKind.USAGE, usage=usage))

    answer = gateway.post("/v1/chat/completions", shop.key, json=ASKED)

    (attempt,) = attempt_rows()
    assert answer.status_code == 200
    assert attempt["estimated"]
    assert vendor.ledger.total_nanos <= attempt["cost_nanos"] == attempt["reserved_nanos"]


def test_missing_usage_is_charged_at_the_bound(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(Fault(kind=FaultKind.MISSING_USAGE))

    reply = gateway.client(shop.key).chat.completions.create(**ASKED)

    (attempt,) = attempt_rows()
    assert reply.usage is None
    assert (attempt["estimated"], attempt["cost_nanos"]) == (True, attempt["reserved_nanos"])


def test_a_caller_can_shorten_the_deadline(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(Fault(delay_ms=2_000))
    started_at = time.monotonic()

    answer = gateway.post(
        "/v1/chat/completions", shop.key, json=ASKED, headers={"x-request-timeout-ms": "150"}
    )

    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert time.monotonic() - started_at < 1.0
    assert attempt_rows()[0]["fault"] == "deadline_exceeded"


@pytest.mark.parametrize("bills_after_cut", [False, True])
def test_a_client_that_hangs_up_stops_the_vendor_and_pays_for_what_it_may_bill(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, bills_after_cut: bool
) -> None:
    Provider.objects.update(bills_after_cut=bills_after_cut)
    gateway.catch_up()
    vendor.script(Fault(chunk_delay_ms=50))
    stream = gateway.client(shop.key).chat.completions.create(
        model="auto", messages=[{"role": "user", "content": "Tell me a story in 400 words"}], stream=True
    )
    for _, _ in zip(range(5), stream, strict=False):
        pass
    stream.close()

    dispatch = _wait_for_end()
    (attempt,) = attempt_rows()

    assert dispatch["status"] == "client_disconnected"
    assert attempt["fault"] == "client_disconnected"
    assert attempt["estimated"]
    assert attempt["cost_nanos"] >= vendor.ledger.total_nanos
    assert (attempt["cost_nanos"] == attempt["reserved_nanos"]) is bills_after_cut


def _wait_for_end() -> dict[str, Any]:
    for _ in range(200):
        (dispatch,) = dispatch_rows()
        if dispatch["status"] != "open":
            return dispatch
        time.sleep(0.02)
    raise TimeoutError("The dispatch did not end.")


def test_a_target_that_is_only_down_is_worth_asking_again(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    Provider.objects.update(enabled=False)
    gateway.catch_up()

    with pytest.raises(openai.APIStatusError) as refused:
        gateway.client(shop.key).chat.completions.create(
            model="auto", messages=[{"role": "user", "content": "hi"}]
        )

    assert refused.value.code == "no_target_available"
    assert "x-should-retry" not in refused.value.response.headers
