"""A database that answers late: nothing is sent unlogged, and nobody waits for long."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import httpx
import psycopg

from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, open_shop, test_conninfo

ASKED = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
CHAT = "/v1/chat/completions"


def test_what_cannot_be_reserved_in_time_is_not_sent(
    vendor: SandboxServer, start_gateways: Callable[..., Sequence[RunningGateway]]
) -> None:
    (gateway,) = start_gateways(LEDGER_PATIENCE_MS="250")
    shop = open_shop(vendor)
    gateway.catch_up()

    with _held("attempt"):
        started_at = time.monotonic()
        answer = gateway.post(CHAT, shop.key, json=ASKED)
        elapsed_s = time.monotonic() - started_at

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert elapsed_s < 2
    assert not vendor.journal.requests
    # What was waiting goes through first; until then the next one is refused at once.
    _wait_for(lambda: gateway.post(CHAT, shop.key, json=ASKED).status_code == 200)


def test_an_answer_does_not_wait_for_a_settlement_that_is_late(
    vendor: SandboxServer, gateway: RunningGateway
) -> None:
    shop = open_shop(vendor)
    vendor.script(Fault(delay_ms=300))
    gateway.catch_up()
    answers: list[httpx.Response] = []
    caller = threading.Thread(target=lambda: answers.append(gateway.post(CHAT, shop.key, json=ASKED)))

    caller.start()
    _wait_for(lambda: bool(vendor.journal.requests))
    with _held("attempt"):
        caller.join()
    _wait_for(lambda: dispatch_rows()[0]["status"] == "succeeded")

    assert answers[0].status_code == 200
    assert answers[0].headers["x-dispatch-settlement"] == "pending"
    assert attempt_rows()[0]["cost_nanos"] == vendor.ledger.total_nanos


@contextmanager
def _held(table: str) -> Iterator[None]:
    """Lock a table of the log against everybody else."""
    with psycopg.connect(test_conninfo()) as holder:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        holder.rollback()


def _wait_for(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.02)
    raise TimeoutError
