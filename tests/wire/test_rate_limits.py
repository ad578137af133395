"""Rate limits against real web processes, PostgreSQL and the sandbox vendor."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import psycopg
import pytest

from policies_app.models import ApiKey
from policies_app.routing.codes import RateLimitKind
from sandbox.faults import Fault
from sandbox.server import SandboxServer
from tests.factories import make_rate_limit
from tests.running_servers import (
    RunningGateway,
    Shop,
    attempt_rows,
    dispatch_rows,
    open_shop,
    test_conninfo,
    until,
)

CHAT = "/v1/chat/completions"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
BODY: dict[str, Any] = {"model": "auto", "messages": QUESTION, "max_tokens": 100}
AT_ONCE = RateLimitKind.CONCURRENT_DISPATCHES
TOKENS = RateLimitKind.TOKENS_PER_MINUTE
LIMITS_CONNECTIONS_SQL = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'signalbox-limits' AND datname = current_database()
"""


@pytest.fixture
def shop(vendor: SandboxServer) -> Shop:
    return open_shop(vendor)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=32) as pool:
        yield pool


def post(gateway: RunningGateway, shop: Shop, **fields: Any) -> httpx.Response:
    return gateway.post(CHAT, shop.key, json=BODY | fields)


def in_flight(
    pool: ThreadPoolExecutor, vendor: SandboxServer, gateway: RunningGateway, shop: Shop, **fields: Any
) -> "Future[httpx.Response]":
    """A request that the vendor takes its time for, once the vendor has it."""
    vendor.script(Fault(delay_ms=1_500))
    billed = len(vendor.ledger.entries)
    running = pool.submit(post, gateway, shop, **fields)
    until(lambda: len(vendor.ledger.entries) > billed)
    vendor.clear_faults()
    return running


def test_the_official_client_sees_a_rate_limit_and_when_to_come_back(
    gateway: RunningGateway, shop: Shop
) -> None:
    make_rate_limit(shop.tenant, 2)
    gateway.catch_up()
    client = gateway.client(shop.key)

    answers = [client.chat.completions.with_raw_response.create(**BODY) for _ in range(2)]
    with pytest.raises(openai.RateLimitError) as refused:
        client.chat.completions.create(**BODY)

    told = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
    headers = refused.value.response.headers
    assert told == ["1", "0"]
    assert refused.value.code == "rate_limit_exceeded"
    assert refused.value.type == "rate_limit_error"
    assert "2 requests a minute of this tenant" in str(refused.value)
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    assert 30 < float(headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60
    assert 1 <= int(headers["retry-after"]) <= 30
    assert len(dispatch_rows()) == 2


def test_the_tightest_of_several_limits_is_told_on_streams_too(gateway: RunningGateway, shop: Shop) -> None:
    make_rate_limit(shop.tenant, 1_000)
    make_rate_limit(ApiKey.objects.get(), 10)
    make_rate_limit(shop.tenant, 100_000, TOKENS)
    gateway.catch_up()

    answer = post(gateway, shop, stream=True)

    assert answer.text.rstrip().endswith("data: [DONE]")
    assert answer.headers["x-ratelimit-limit-requests"] == "10"
    assert answer.headers["x-ratelimit-remaining-requests"] == "9"
    assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000 - 100


def test_who_is_beyond_the_limit_is_refused_before_its_body_is_read(
    gateway: RunningGateway, shop: Shop
) -> None:
    make_rate_limit(ApiKey.objects.get(), 1)
    gateway.catch_up()
    post(gateway, shop)

    answer = gateway.post(CHAT, shop.key, content=b"this is no JSON")

    assert answer.status_code == 429


def test_two_processes_share_a_limit(
    vendor: SandboxServer,
    gateway: RunningGateway,
    start_gateways: Callable[..., Sequence[RunningGateway]],
    shop: Shop,
    pool: ThreadPoolExecutor,
) -> None:
    gateways = [gateway, *start_gateways(1)]
    make_rate_limit(shop.tenant, 40)
    for running in gateways:
        running.catch_up()
    began_at = time.monotonic()

    answers = list(pool.map(lambda number: post(gateways[number % 2], shop), range(100)))

    refilled = (time.monotonic() - began_at) * 40 / 60
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    assert 40 <= statuses[200] <= 40 + refilled + 1
    assert len(vendor.journal.requests) == statuses[200]


def test_a_dispatch_holds_its_slot_to_its_end(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, pool: ThreadPoolExecutor
) -> None:
    make_rate_limit(shop.tenant, 1, AT_ONCE)
    gateway.catch_up()
    running = in_flight(pool, vendor, gateway, shop)

    refused = post(gateway, shop)

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "1 requests at once of this tenant" in refused.json()["error"]["message"]
    assert running.result().status_code == 200
    until(lambda: post(gateway, shop).status_code == 200)


def test_the_slot_of_a_stream_whose_client_hung_up_comes_back(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop
) -> None:
    make_rate_limit(shop.tenant, 1, AT_ONCE)
    gateway.catch_up()
    vendor.script(Fault(chunk_delay_ms=200))
    client = gateway.client(shop.key)

    stream = client.chat.completions.create(**BODY, stream=True)
    next(iter(stream))
    assert post(gateway, shop).status_code == 429
    stream.close()

    until(lambda: post(gateway, shop).status_code == 200)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [(CHAT, b"{", 400), (CHAT, b'{"model": "none", "messages": []}', 400), ("/v1/explain", b"{}", 400)],
)
def test_a_request_that_comes_to_nothing_keeps_no_slot(
    gateway: RunningGateway, shop: Shop, path: str, body: bytes, status: int
) -> None:
    make_rate_limit(shop.tenant, 1, AT_ONCE)
    gateway.catch_up()

    assert gateway.post(path, shop.key, content=body).status_code == status

    until(lambda: post(gateway, shop).status_code == 200)


def test_the_slots_of_a_killed_process_come_back(
    vendor: SandboxServer,
    gateway: RunningGateway,
    start_gateways: Callable[..., Sequence[RunningGateway]],
    shop: Shop,
    pool: ThreadPoolExecutor,
) -> None:
    (killed,) = start_gateways(1)
    make_rate_limit(shop.tenant, 1, AT_ONCE)
    killed.catch_up()
    gateway.catch_up()
    cut = in_flight(pool, vendor, killed, shop)
    assert post(gateway, shop).status_code == 429

    killed.process.send_signal(signal.SIGKILL)
    killed.process.wait()

    assert isinstance(cut.exception(), httpx.TransportError)
    until(lambda: post(gateway, shop).status_code == 200)


def test_tokens_count_at_their_worst_case_until_the_vendor_has_counted(
    gateway: RunningGateway, shop: Shop
) -> None:
    make_rate_limit(shop.tenant, 1_000, TOKENS)
    gateway.catch_up()

    first = post(gateway, shop, max_tokens=800)

    assert int(first.headers["x-ratelimit-remaining-tokens"]) < 200
    # By refilling alone, this would take over half a minute.
    until(lambda: post(gateway, shop, max_tokens=700).status_code == 200)


def test_tokens_that_do_not_fit_are_refused_and_nothing_is_sent(
    vendor: SandboxServer, gateway: RunningGateway, shop: Shop, pool: ThreadPoolExecutor
) -> None:
    make_rate_limit(shop.tenant, 1_000, TOKENS)
    gateway.catch_up()
    running = in_flight(pool, vendor, gateway, shop, max_tokens=900)
    asked = len(vendor.journal.requests)

    refused = post(gateway, shop, max_tokens=500)

    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-ratelimit-limit-tokens"] == "1000"
    assert len(vendor.journal.requests) == asked
    running.result()


def test_beyond_a_models_limit_the_next_model_answers_and_after_the_last_one_the_caller_is_refused(
    gateway: RunningGateway, shop: Shop
) -> None:
    for model in (shop.fleet.small, shop.fleet.mid, shop.fleet.frontier):
        make_rate_limit(model, 1)
    gateway.catch_up()

    answers = [post(gateway, shop) for _ in range(4)]

    assert [answer.json().get("model") for answer in answers] == ["small", "mid", "frontier", None]
    assert answers[3].status_code == 429
    assert answers[3].json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(answers[3].headers["retry-after"]) <= 60
    assert len(attempt_rows()) == 3
    assert dispatch_rows()[3]["status"] == "refused"


def test_without_the_database_callers_with_limits_are_refused_at_once(
    vendor: SandboxServer, start_gateways: Callable[..., Sequence[RunningGateway]], shop: Shop
) -> None:
    (gateway,) = start_gateways(LEDGER_PATIENCE_MS="250")
    make_rate_limit(shop.tenant, 1_000)
    gateway.catch_up()
    assert post(gateway, shop).status_code == 200
    asked = len(vendor.journal.requests)

    with _held("rate_limit_level"):
        began_at = time.monotonic()
        refused = post(gateway, shop)
        elapsed_s = time.monotonic() - began_at

    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert refused.headers["retry-after"] == "1"
    assert elapsed_s < 2
    assert len(vendor.journal.requests) == asked
    until(lambda: post(gateway, shop).status_code == 200)


def test_an_edit_counts_for_the_next_request(gateway: RunningGateway, shop: Shop) -> None:
    make_rate_limit(shop.tenant, 1)
    gateway.catch_up()
    assert [post(gateway, shop).status_code for _ in range(2)] == [200, 429]

    make_rate_limit(shop.tenant, 600)
    gateway.catch_up()

    until(lambda: post(gateway, shop).status_code == 200)


def test_without_limits_nothing_is_asked_and_nothing_is_told(
    start_gateways: Callable[..., Sequence[RunningGateway]], shop: Shop
) -> None:
    (gateway,) = start_gateways(1)
    gateway.catch_up()
    with psycopg.connect(test_conninfo(), autocommit=True) as probe:
        others = probe.execute(LIMITS_CONNECTIONS_SQL).fetchone()

        answer = post(gateway, shop)

        assert probe.execute(LIMITS_CONNECTIONS_SQL).fetchone() == others
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("x-ratelimit")]


@contextmanager
def _held(table: str) -> Iterator[None]:
    """Lock a table against everybody else."""
    with psycopg.connect(test_conninfo()) as holder:
        holder.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield
        holder.rollback()
