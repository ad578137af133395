"""The same with real web processes: what they see is told, and they start from what was told before."""

import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.db import connection

from dispatch_app.fleet.exchange import ROUND_S
from policies_app.models import Condition
from policies_app.routing.codes import LatencyMeasure
from policies_app.routing.conditions import LatencyAbove
from sandbox.faults import Fault, FaultKind
from tests.factories import make_rule
from tests.running_servers import RunningGateway, open_shop, publish

QUESTION = [{"role": "user", "content": "Hi"}]

pytestmark = pytest.mark.processes


def calls_told() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT coalesce(sum(calls), 0) FROM fleet_latency WHERE measure = %s",
            [LatencyMeasure.TOTAL.value],
        )
        return int(cursor.fetchone()[0])


def models_used() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM fleet_warmth WHERE last_used_at > now() - interval '1 minute'")
        return int(cursor.fetchone()[0])


def explained(running: RunningGateway, key: str) -> dict[str, Any]:
    return running.post("/v1/explain", key, json={"model": "auto", "messages": QUESTION}).json()


def call(running: RunningGateway, key: str, *, times: int) -> None:
    client = running.client(key)
    for _ in range(times):
        client.chat.completions.create(model="auto", messages=QUESTION)


def test_processes_tell_what_they_see_in_time_and_the_rest_when_they_stop(
    vendor: Any, start_gateways: Callable[..., Sequence[RunningGateway]], transactional_db: None
) -> None:
    shop = open_shop(vendor)
    one, other = start_gateways(2)
    for running in (one, other):
        running.catch_up()

    call(one, shop.key, times=3)
    call(other, shop.key, times=2)
    patience = time.monotonic() + 2 * ROUND_S
    while calls_told() < 5 and time.monotonic() < patience:
        time.sleep(0.05)
    assert calls_told() == 5
    assert models_used() == 1

    call(one, shop.key, times=4)
    one.stop(signal.SIGTERM)
    assert calls_told() == 9

    other.stop(signal.SIGKILL)
    assert calls_told() == 9


def test_one_process_decides_by_the_latency_that_another_saw(
    vendor: Any, start_gateways: Callable[..., Sequence[RunningGateway]], transactional_db: None
) -> None:
    shop = open_shop(vendor)
    rule = make_rule(shop.policy, "small is slow", models=[shop.fleet.frontier])
    Condition.objects.create(
        rule=rule,
        kind=LatencyAbove.kind,
        model=shop.fleet.small,
        measure=LatencyMeasure.TOTAL,
        percentile=50,
        above_ms=100,
        least_samples=5,
    )
    publish(shop.policy)
    vendor.script(Fault(kind=FaultKind.DELAY, delay_ms=200))
    one, other = start_gateways(2)
    for running in (one, other):
        running.catch_up()
    assert explained(other, shop.key)["rule"] == "default"

    call(one, shop.key, times=5)

    patience = time.monotonic() + 3 * ROUND_S
    while explained(other, shop.key)["rule"] == "default" and time.monotonic() < patience:
        time.sleep(0.05)
    assert explained(other, shop.key)["rule"] == "small is slow"
    assert "p50 of the total time of small" in explained(other, shop.key)["reason"]
