"""Web processes that start, stop and lose their database."""

import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, open_shop

pytestmark = pytest.mark.processes

QUESTION = [{"role": "user", "content": "Hello"}]
StartGateways = Callable[..., Sequence[RunningGateway]]


def test_a_process_that_is_told_to_stop_finishes_what_it_began(
    vendor: SandboxServer, start_gateways: StartGateways
) -> None:
    shop = open_shop(vendor)
    vendor.script(Fault(delay_ms=800, chunk_delay_ms=30))
    (running,) = start_gateways()
    hung_up = running.client(shop.key).chat.completions.create(model="auto", messages=QUESTION, stream=True)
    next(iter(hung_up))
    with ThreadPoolExecutor() as callers:
        answers = [
            callers.submit(
                running.post,
                "/v1/chat/completions",
                shop.key,
                json={"model": "auto", "messages": QUESTION, "stream": stream},
            )
            for stream in (False, True)
        ]
        _wait_until_asked(vendor, times=3)

        hung_up.close()
        exit_code = running.stop(signal.SIGTERM)

    plain, stream = (answer.result() for answer in answers)
    assert plain.status_code == 200
    assert plain.json()["choices"]
    assert stream.text.endswith("data: [DONE]\n\n")
    assert exit_code in {0, -signal.SIGTERM}
    assert [row["state"] for row in attempt_rows()] == ["settled"] * 3
    assert sorted(row["status"] for row in dispatch_rows()) == [
        "client_disconnected",
        "succeeded",
        "succeeded",
    ]


def test_what_does_not_end_in_time_is_told_and_settled(
    vendor: SandboxServer, start_gateways: StartGateways
) -> None:
    shop = open_shop(vendor)
    (running,) = start_gateways(SHUTDOWN_S="1")
    vendor.script(Fault(delay_ms=60_000), contains="Wait")
    vendor.script(Fault(chunk_delay_ms=200), contains="story")
    with ThreadPoolExecutor() as callers:
        plain, stream = (
            callers.submit(
                running.post,
                "/v1/chat/completions",
                shop.key,
                json={"model": "auto", "messages": [{"role": "user", "content": text}], "stream": is_stream},
            )
            for text, is_stream in (("Wait for me", False), ("Tell me a story in 400 words", True))
        )
        _wait_until_asked(vendor, times=2)
        told_at = time.monotonic()
        running.stop(signal.SIGTERM)
        took_s = time.monotonic() - told_at

    assert (plain.result().status_code, plain.result().json()["error"]["code"]) == (503, "shutting_down")
    assert plain.result().headers["retry-after"] == "1"
    assert '"code":"shutting_down"' in stream.result().text
    assert "[DONE]" not in stream.result().text
    assert took_s < 25
    assert [(row["state"], row["fault"]) for row in attempt_rows()] == [("settled", "shut_down")] * 2
    assert [row["error_code"] for row in dispatch_rows()] == ["shutting_down"] * 2
    assert sum(row["cost_nanos"] for row in attempt_rows()) >= vendor.ledger.total_nanos


def test_without_a_database_a_process_lives_says_so_and_serves_nothing(start_gateways: StartGateways) -> None:
    (running,) = start_gateways(is_awaited=False, DATABASE_URL="postgres://nobody@127.0.0.1:9/nowhere")
    _wait_until_alive(running)

    ready = running.get("/readyz")
    started_at = time.monotonic()
    answer = running.post("/v1/chat/completions", "sbx_key", json={"model": "auto", "messages": QUESTION})

    assert (ready.status_code, ready.json()["missing"]) == (503, ["snapshot", "database"])
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert time.monotonic() - started_at < 1


def test_two_processes_serve_the_same_edits(vendor: SandboxServer, start_gateways: StartGateways) -> None:
    first, second = start_gateways(2)
    shop = open_shop(vendor)
    for running in (first, second):
        running.catch_up()

        reply = running.client(shop.key).chat.completions.create(model="auto", messages=QUESTION)

        assert reply.model == "small"
    assert len(dispatch_rows()) == 2


def _wait_until_asked(vendor: SandboxServer, *, times: int) -> None:
    for _ in range(500):
        if len(vendor.journal.requests) >= times:
            return
        time.sleep(0.01)
    raise TimeoutError("The vendor was not asked.")


def _wait_until_alive(running: RunningGateway) -> None:
    for _ in range(1_500):
        try:
            if running.get("/healthz").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.02)
    raise TimeoutError("The process did not start.")
