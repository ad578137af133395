"""Idempotency keys against real web processes, PostgreSQL and the sandbox vendor, whose ledger says what reached it."""

import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import openai
import pytest

from dispatch_app.ledger.sweep import expire_attempts
from policies_app.models import Provider, Tenant
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.factories import make_key
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop, until

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
BODY: dict[str, Any] = {"model": "auto", "messages": QUESTION}
KEY = {"idempotency-key": "order-7"}
WAIT = {"prefer": "respond-async, wait"}
SLOW = Fault(delay_ms=1_500)


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    shop = open_shop(vendor)
    gateway.catch_up()
    return shop


@pytest.fixture
def keeping_shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    """Its tenant has answers kept and repeated."""
    shop = open_shop(vendor)
    Tenant.objects.update(replay_answers=True)
    gateway.catch_up()
    return shop


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=64) as pool:
        yield pool


def post(
    gateway: RunningGateway, shop: Shop, body: dict[str, Any] = BODY, *, path: str = CHAT, **headers: str
) -> httpx.Response:
    return gateway.post(path, shop.key, json=body, headers=KEY | headers)


def in_flight(
    pool: ThreadPoolExecutor, vendor: SandboxServer, call: Callable[[], httpx.Response]
) -> "Future[httpx.Response]":
    """`call`, once its request has been admitted."""
    vendor.script(SLOW)
    running = pool.submit(call)
    until(lambda: bool(attempt_rows()))
    return running


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


def test_the_official_client_gets_a_conflict_that_names_the_dispatch_and_its_cost(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    client = gateway.client(shop.key, max_retries=2)
    reply = client.chat.completions.create(**BODY, extra_headers={"Idempotency-Key": "order-7"})
    assert reply.choices[0].message.content

    with pytest.raises(openai.ConflictError) as conflict:
        client.chat.completions.create(**BODY, extra_headers={"Idempotency-Key": "order-7"})

    (dispatch,) = dispatch_rows()
    (entry,) = vendor.ledger.entries
    assert dispatch["has_idempotency_key"]
    assert conflict.value.code == "idempotency_key_used"
    assert conflict.value.response.headers["x-dispatch-id"] == str(dispatch["id"])
    assert conflict.value.response.headers["x-dispatch-status"] == "succeeded"
    assert "idempotency-replayed" not in conflict.value.response.headers
    told = conflict.value.response.json()["dispatch"]
    assert (told["id"], told["status"], told["cost_nanos"]) == (
        str(dispatch["id"]),
        "succeeded",
        entry.cost_nanos,
    )


@pytest.mark.parametrize("path", [CHAT, "/v1/dispatch"])
def test_where_the_tenant_has_answers_kept_a_repeat_gets_the_same_answer(
    vendor: SandboxServer, gateway: RunningGateway, keeping_shop: Shop, path: str
) -> None:
    first = post(gateway, keeping_shop, path=path)
    again = post(gateway, keeping_shop, path=path)

    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again.headers["x-dispatch-id"] == first.headers["x-dispatch-id"]
    assert again.headers["x-dispatch-cost-usd"] == first.headers["x-dispatch-cost-usd"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert len(vendor.ledger.entries) == len(dispatch_rows()) == 1


def test_an_answer_is_not_repeated_any_more_once_the_tenant_does_not_have_them_kept(
    gateway: RunningGateway, keeping_shop: Shop
) -> None:
    post(gateway, keeping_shop)
    Tenant.objects.update(replay_answers=False)
    gateway.catch_up()

    assert post(gateway, keeping_shop).status_code == 409


def test_a_stream_is_repeated_as_the_whole_answer_that_it_came_to(
    vendor: SandboxServer, gateway: RunningGateway, keeping_shop: Shop
) -> None:
    client = gateway.client(keeping_shop.key)
    stream = client.chat.completions.create(**BODY, stream=True, extra_headers=KEY)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    again = post(gateway, keeping_shop, BODY | {"stream": True})

    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["content-type"] == "application/json"
    told = again.json()
    assert (told["object"], told["choices"][0]["message"]["content"]) == ("chat.completion", text)
    assert told["choices"][0]["finish_reason"] == "stop"
    assert told["usage"]["completion_tokens"] == vendor.ledger.entries[0].output_tokens
    assert len(vendor.ledger.entries) == 1


def test_a_streams_repeat_is_a_conflict_where_nothing_is_kept(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    assert post(gateway, shop, BODY | {"stream": True}).status_code == 200

    again = post(gateway, shop, BODY | {"stream": True})

    assert (again.status_code, code_of(again)) == (409, "idempotency_key_used")
    assert len(vendor.ledger.entries) == 1


def test_an_error_after_the_request_was_sent_is_repeated_too(
    vendor: SandboxServer, gateway: RunningGateway, keeping_shop: Shop
) -> None:
    vendor.script(Fault(kind=FaultKind.STATUS, status=400))
    first = post(gateway, keeping_shop)
    calls = len(vendor.journal.requests)
    vendor.clear_faults()

    again = post(gateway, keeping_shop)

    assert (first.status_code, again.status_code) == (400, 400)
    assert again.content == first.content
    assert (again.headers["idempotency-replayed"], again.headers["x-should-retry"]) == ("true", "false")
    assert len(vendor.journal.requests) == calls


def test_the_same_key_with_another_request_is_refused(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    post(gateway, shop)

    other = post(gateway, shop, BODY | {"temperature": 1.0})
    spaced = gateway.post(
        CHAT, shop.key, content=json.dumps(dict(reversed(BODY.items())), indent=3).encode(), headers=KEY
    )

    assert (other.status_code, code_of(other)) == (422, "idempotency_key_mismatch")
    assert (spaced.status_code, code_of(spaced)) == (409, "idempotency_key_used")
    assert len(vendor.ledger.entries) == 1


def test_another_key_tenant_or_endpoint_has_idempotency_keys_of_its_own(
    vendor: SandboxServer, gateway: RunningGateway, keeping_shop: Shop
) -> None:
    colleague = make_key(keeping_shop.tenant).text
    stranger = make_key().text
    gateway.catch_up()

    answers = [
        gateway.post(path, key, json=BODY, headers=KEY)
        for key in (keeping_shop.key, colleague, stranger)
        for path in (CHAT, "/v1/dispatch")
    ]

    assert [answer.status_code for answer in answers] == [200] * 6
    assert not any("idempotency-replayed" in answer.headers for answer in answers)
    assert len({answer.headers["x-dispatch-id"] for answer in answers}) == len(vendor.ledger.entries) == 6


@pytest.mark.parametrize("key", ["", "k" * 256, "tab\tin it"])
def test_a_key_that_is_empty_too_long_or_not_printable_is_refused(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, key: str
) -> None:
    answer = gateway.post(CHAT, shop.key, json=BODY, headers={"idempotency-key": key})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "idempotency-key")
    assert not vendor.ledger.entries


def test_who_prefers_to_wait_gets_the_answer_that_is_on_its_way_and_nobody_else_does(
    vendor: SandboxServer, gateway: RunningGateway, keeping_shop: Shop, pool: ThreadPoolExecutor
) -> None:
    first = in_flight(pool, vendor, lambda: post(gateway, keeping_shop))

    at_once = post(gateway, keeping_shop)
    waited = post(gateway, keeping_shop, **WAIT)

    assert (at_once.status_code, code_of(at_once)) == (409, "idempotency_key_in_flight")
    assert at_once.headers["retry-after"] == "1"
    assert "x-should-retry" not in at_once.headers
    assert at_once.headers["x-dispatch-id"] == first.result().headers["x-dispatch-id"]
    assert (waited.status_code, waited.content) == (200, first.result().content)
    assert waited.headers["idempotency-replayed"] == "true"
    assert len(vendor.ledger.entries) == 1


def test_those_that_come_at_once_and_wait_share_one_dispatch(
    vendor: SandboxServer, gateway: RunningGateway, keeping_shop: Shop, pool: ThreadPoolExecutor
) -> None:
    asked = [pool.submit(post, gateway, keeping_shop, **WAIT) for _ in range(24)]
    answers = [future.result() for future in asked]

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(vendor.ledger.entries) == len(dispatch_rows()) == 1


def test_waiting_ends_with_the_time_that_the_caller_has(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, pool: ThreadPoolExecutor
) -> None:
    first = in_flight(pool, vendor, lambda: post(gateway, shop))

    waited = post(gateway, shop, **WAIT, **{"x-request-timeout-ms": "100"})

    assert (waited.status_code, code_of(waited)) == (409, "idempotency_key_in_flight")
    assert first.result().status_code == 200


def test_what_failed_before_anything_was_sent_runs_again(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    Provider.objects.update(base_url="http://127.0.0.1:9/v1")
    gateway.catch_up()
    failed = post(gateway, shop)
    assert (failed.status_code, code_of(failed)) == (502, "upstream_unreachable")

    Provider.objects.update(base_url=vendor.base_url)
    gateway.catch_up()
    # What could not be reached is tried again after a pause, if need be.
    until(lambda: post(gateway, shop).status_code in {200, 409})

    assert [dispatch["status"] for dispatch in dispatch_rows()].count("succeeded") == 1
    assert len(vendor.ledger.entries) == 1
    assert code_of(post(gateway, shop)) == "idempotency_key_used"


def test_of_a_hundred_at_once_one_reaches_the_vendor_though_a_process_is_killed(
    vendor: SandboxServer,
    start_gateways: Callable[..., Sequence[RunningGateway]],
    pool: ThreadPoolExecutor,
) -> None:
    shop = open_shop(vendor)
    victim, survivor = start_gateways(2)
    vendor.script(Fault(kind=FaultKind.HANG))
    told: list[int] = []
    lock = threading.Lock()

    def call(number: int) -> None:
        try:
            status = post((victim, survivor)[number % 2], shop).status_code
        except httpx.TransportError:
            status = 0
        with lock:
            told.append(status)

    # The first goes through the process that is killed while the vendor is at it.
    first = pool.submit(call, 0)
    until(lambda: bool(vendor.journal.requests))
    others = [pool.submit(call, number) for number in range(1, 50)]
    until(lambda: len(told) >= 10)
    victim.stop(signal.SIGKILL)
    others += [pool.submit(call, number) for number in range(50, 100)]
    for future in [first, *others]:
        future.result()

    assert len(told) == 100
    assert set(told) <= {0, 409}
    in_doubt = post(survivor, shop)
    assert code_of(in_doubt) == "idempotency_key_in_flight"

    expire_attempts(now=datetime.now(UTC) + timedelta(hours=1))
    unknown = post(survivor, shop)
    (dispatch,) = dispatch_rows()
    assert (unknown.status_code, code_of(unknown)) == (409, "outcome_unknown")
    assert unknown.headers["x-should-retry"] == "false"
    assert unknown.json()["dispatch"]["id"] == str(dispatch["id"])
    assert len(vendor.journal.requests) == 1
