"""A client that hangs up while its plain request is being answered: nothing more is asked for it, and the truth is paid."""

import socket
import time

import pytest

from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, Shop, attempt_rows, dispatch_rows, open_shop

BODY = b'{"model":"auto","messages":[{"role":"user","content":"What is the capital of France?"}],"max_tokens":40}'
PATIENCE_S = 20.0


@pytest.fixture
def shop(vendor: SandboxServer, gateway: RunningGateway) -> Shop:
    shop = open_shop(vendor)
    gateway.catch_up()
    return shop


def ask_and_hang_up(vendor: SandboxServer, gateway: RunningGateway, shop: Shop) -> None:
    """Send a request, wait until the vendor is asked, and leave."""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {shop.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as client:
        client.sendall(head.encode() + BODY)
        give_up_at = time.monotonic() + PATIENCE_S
        while not vendor.journal.requests:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)


def ended() -> dict[str, object]:
    give_up_at = time.monotonic() + PATIENCE_S
    while (dispatch := dispatch_rows()[0])["status"] == "open":
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return dispatch


def test_the_call_in_flight_is_heard_out_and_paid_as_billed(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    vendor.script(Fault(delay_ms=700))

    ask_and_hang_up(vendor, gateway, shop)

    dispatch = ended()
    (attempt,) = attempt_rows()
    assert (dispatch["status"], dispatch["error_code"]) == ("client_disconnected", "client_disconnected")
    assert (attempt["fault"], attempt["estimated"]) == ("", False)
    assert dispatch["cost_nanos"] == attempt["cost_nanos"] == vendor.ledger.total_nanos > 0


def test_nobody_else_is_asked(vendor: SandboxServer, gateway: RunningGateway, shop: Shop) -> None:
    vendor.script(Fault(kind=FaultKind.STATUS, status=500, delay_ms=700), model="sandbox-small")

    ask_and_hang_up(vendor, gateway, shop)

    assert ended()["status"] == "client_disconnected"
    assert [attempt["fault"] for attempt in attempt_rows()] == ["server_error"]
