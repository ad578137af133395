"""Clients that stop reading hold neither memory nor a vendor for long."""

import contextlib
import json
import re
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from sandbox.faults import Fault, FaultKind
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, Shop, dispatch_rows, open_shop

pytestmark = pytest.mark.processes

STALL_S = 1.0
PATIENCE_S = 30.0
TOKENS = 4_000
WORDS = "word " * TOKENS
MUCH = 4_000_000
"""Bytes, fewer than an answer of so many tokens with their log-probabilities has, and more than sockets hold on the way."""


@pytest.fixture
def running(vendor: SandboxServer, start_gateways: Callable[..., Sequence[RunningGateway]]) -> RunningGateway:
    vendor.script(Fault(kind=FaultKind.CONTENT, content=WORDS))
    (running,) = start_gateways(CLIENT_STALL_S=str(STALL_S))
    return running


@pytest.fixture
def shop(vendor: SandboxServer, running: RunningGateway) -> Shop:
    shop = open_shop(vendor)
    running.catch_up()
    return shop


def request(shop: Shop, **fields: object) -> bytes:
    body = {
        "model": "auto",
        "messages": [{"role": "user", "content": "Talk"}],
        "max_tokens": TOKENS,
        "logprobs": True,
        "top_logprobs": 20,
    }
    payload = json.dumps(body | fields).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {shop.key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload


@contextlib.contextmanager
def connection(running: RunningGateway) -> Iterator[socket.socket]:
    """One whose own end takes little."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.settimeout(PATIENCE_S)
        client.connect(("127.0.0.1", running.port))
        yield client


def is_reset(client: socket.socket) -> bool:
    """Wait until the other side has dropped the connection, without reading."""
    poll = select.poll()
    poll.register(client, 0)
    return any(flags & (select.POLLERR | select.POLLHUP) for _, flags in poll.poll(PATIENCE_S * 1_000))


def ended() -> dict[str, object]:
    give_up_at = time.monotonic() + PATIENCE_S
    while not (rows := dispatch_rows()) or rows[0]["status"] == "open":
        assert time.monotonic() < give_up_at
        time.sleep(0.02)
    return rows[0]


def test_a_stream_that_nobody_reads_is_closed_at_the_vendor_and_the_connection_reset(
    vendor: SandboxServer, running: RunningGateway, shop: Shop
) -> None:
    vendor.clear_faults()
    vendor.script(Fault(kind=FaultKind.HANG, content=WORDS, after_bytes=MUCH))
    with connection(running) as client:
        client.sendall(request(shop, stream=True))

        dispatch = ended()

        assert is_reset(client)
    assert (dispatch["status"], dispatch["error_code"]) == ("client_disconnected", "client_disconnected")
    (call,) = vendor.ledger.entries
    assert call.client_left
    assert int(str(dispatch["cost_nanos"])) >= call.cost_nanos > 0


def test_a_whole_answer_that_nobody_reads_is_dropped(running: RunningGateway, shop: Shop) -> None:
    with connection(running) as client:
        client.sendall(request(shop))

        assert is_reset(client)

    assert ended()["status"] == "succeeded"


def test_who_reads_slowly_but_steadily_gets_everything(running: RunningGateway, shop: Shop) -> None:
    with connection(running) as client:
        client.sendall(request(shop, stream=True))
        received, slow_until = b"", time.monotonic() + 3 * STALL_S
        while not received.endswith(b"\r\n0\r\n\r\n"):
            received += client.recv(1 << 16)
            if time.monotonic() < slow_until:
                time.sleep(0.02)

    assert len(received) > MUCH
    assert b"data: [DONE]" in received
    assert ended()["status"] == "succeeded"


def test_a_hang_up_is_noticed_though_the_next_request_was_sent_already(
    vendor: SandboxServer, running: RunningGateway, shop: Shop
) -> None:
    vendor.clear_faults()
    vendor.script(Fault(kind=FaultKind.CONTENT, content="word " * 20, chunk_delay_ms=500))
    with connection(running) as client:
        client.sendall(2 * request(shop, stream=True, logprobs=False, top_logprobs=None))
        assert client.recv(1_000).startswith(b"HTTP/1.1 200")

    assert ended()["status"] == "client_disconnected"
    assert len(vendor.ledger.entries) == len(dispatch_rows()) == 1


def test_a_request_sent_too_early_is_not_answered_and_the_connection_closed(
    vendor: SandboxServer, running: RunningGateway, shop: Shop
) -> None:
    vendor.clear_faults()
    vendor.script(Fault(delay_ms=300))
    with connection(running) as client:
        client.sendall(2 * request(shop, logprobs=False, top_logprobs=None))
        received = b""
        while piece := client.recv(1 << 16):
            received += piece

    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200"]
    assert len(dispatch_rows()) == 1
