"""A client that leaves its stream, where the rule has it read on: the vendor's own count is paid, and a repeat gets the answer."""

import time

import httpx
import pytest

from policies_app.models import Rule, Tenant
from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop, publish

CHAT = "/v1/chat/completions"
WORDS = "word " * 20
BODY = {
    "model": "auto",
    "messages": [{"role": "user", "content": "Talk"}],
    "max_tokens": 40,
    "stream": True,
}
PATIENCE_S = 20.0


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    shop = open_shop(vendor)
    Rule.objects.update(drain_ms=10_000)
    publish(shop.policy)
    Tenant.objects.update(replay_answers=True)
    gateway.catch_up()
    vendor.script(Fault(kind=FaultKind.CONTENT, content=WORDS, chunk_delay_ms=40))
    return shop


def leave(gateway: RunningGateway, shop: Shop, **headers: str) -> None:
    """Ask for a stream, read its beginning, and hang up."""
    sent = {"authorization": f"Bearer {shop.key}"} | headers
    with httpx.stream("POST", f"{gateway.url}{CHAT}", json=BODY, headers=sent, timeout=PATIENCE_S) as stream:
        assert stream.status_code == 200
        next(stream.iter_bytes())


def ended() -> dict[str, object]:
    give_up_at = time.monotonic() + PATIENCE_S
    while (dispatch := dispatch_rows()[0])["status"] == "open":
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return dispatch


def test_what_the_vendor_counts_in_the_end_is_paid(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    leave(gateway, shop)

    dispatch = ended()
    (attempt,), (call,) = attempt_rows(), vendor.ledger.entries
    assert (dispatch["status"], dispatch["answered_by"]) == ("client_disconnected", 1)
    assert (call.seen, call.client_left) == (True, False)
    assert (attempt["fault"], attempt["estimated"]) == ("", False)
    assert dispatch["cost_nanos"] == call.cost_nanos > 0


def test_a_repeat_with_the_same_idempotency_key_gets_the_whole_answer(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    key = {"idempotency-key": "order-7"}
    leave(gateway, shop, **key)
    ended()

    again = gateway.post(CHAT, shop.key, json=BODY, headers=key | {"prefer": "wait=10"})

    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")
    assert again.json()["choices"][0]["message"]["content"].split() == WORDS.split()
    assert len(vendor.ledger.entries) == 1
