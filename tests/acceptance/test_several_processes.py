"""Promises that hold across processes: edits, kill switches, hard budgets, and the log when a process is killed."""

import asyncio
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from dispatch_app.ledger.sweep import expire_attempts
from policies_app.models import Budget, Rule
from policies_app.routing.codes import KillScope
from policies_app.services.kill_switches import throw_kill_switch
from policies_app.services.publishing import publish_policy
from sandbox.server import SandboxServer
from tests.acceptance.callers import Load, call_at_once
from tests.dispatch_app.ledger.books import Books
from tests.running_servers import RunningGateway, attempt_rows, dispatch_rows, open_shop, test_conninfo

pytestmark = pytest.mark.processes
StartGateways = Callable[..., Sequence[RunningGateway]]


@pytest.fixture
def books(transactional_db: None) -> Iterator[Books]:
    with psycopg.connect(test_conninfo(), autocommit=True) as connection:
        yield Books(connection=connection)


def test_an_edit_reaches_every_process_within_a_quarter_of_a_second(
    start_gateways: StartGateways, vendor: SandboxServer, books: Books
) -> None:
    shop = open_shop(vendor)
    gateways = start_gateways(2)
    delays_s = []

    for number in range(5):
        Rule.objects.filter(policy=shop.policy).update(name=f"default-{number}")
        publish_policy(policy=shop.policy, author_name="test", note="another name")
        for running in gateways:
            running.catch_up()
        (slowest,) = books.rows(
            "SELECT extract(epoch FROM max(acknowledged_at) - (SELECT changed_at FROM control_epoch)) AS s"
            " FROM serving_process WHERE pid = ANY (%s)",
            [running.process.pid for running in gateways],
        )
        delays_s.append(float(slowest["s"]))

    assert statistics.median(delays_s) <= 0.25
    for running in gateways:
        answer = running.post("/v1/explain", shop.key, json=_question()).json()
        assert "default-4" in str(answer)


async def test_a_killed_model_is_called_by_no_process_once_the_save_has_returned(
    start_gateways: StartGateways, vendor: SandboxServer
) -> None:
    shop = await sync_to_async(open_shop)(vendor)
    gateways = await sync_to_async(start_gateways)(2)

    async with Load(gateways, shop.key, callers=16) as load:
        await asyncio.sleep(1)
        await sync_to_async(throw_kill_switch)(
            scope=KillScope.MODEL, model=shop.fleet.small, reason="wrong answers", author_name="test"
        )
        saved_at = time.monotonic()
        await asyncio.sleep(1)
    await sync_to_async(connections.close_all)()

    before = [told for told in load.told if told.started_at < saved_at]
    after = [told for told in load.told if told.started_at >= saved_at]
    assert {told.status for told in load.told} == {200}
    assert "small" in {told.model for told in before}
    assert len(after) > 20
    assert {told.model for told in after} == {"mid"}


def test_200_concurrent_callers_of_two_processes_never_overspend_a_hard_budget_by_one_nano_dollar(
    start_gateways: StartGateways, vendor: SandboxServer, books: Books
) -> None:
    shop = open_shop(vendor)
    gateways = start_gateways(2)
    call_at_once(gateways, shop.key, callers=1)
    (first,) = attempt_rows()
    limit_nanos = first["reserved_nanos"] * 25 + 7
    budget = Budget.objects.create(tenant=shop.tenant, name="cap", limit_nanos=limit_nanos)
    spent_before_nanos = vendor.ledger.total_nanos
    for running in gateways:
        running.catch_up()

    told = call_at_once(gateways, shop.key, callers=200)

    admitted = [answer for answer in told if answer.status == 200]
    refused = [answer for answer in told if answer.status != 200]
    billed_nanos = vendor.ledger.total_nanos - spent_before_nanos
    (balance,) = books.rows("SELECT * FROM budget_balance WHERE budget_id = %s", budget.pk)
    assert len(told) == 200
    assert len(admitted) >= 20
    assert {(answer.status, answer.code) for answer in refused} == {(429, "insufficient_quota")}
    assert billed_nanos <= limit_nanos
    assert (balance["settled_nanos"], balance["reserved_nanos"], balance["overage_nanos"]) == (
        billed_nanos,
        0,
        0,
    )
    books.assert_they_agree()


async def test_a_web_process_killed_under_load_loses_no_acknowledged_dispatch(
    start_gateways: StartGateways, vendor: SandboxServer, books: Books
) -> None:
    shop = await sync_to_async(open_shop)(vendor)
    await Budget.objects.acreate(tenant=shop.tenant, name="cap", limit_nanos=10**15)
    (killed, survivor) = await sync_to_async(start_gateways)(2)

    async with Load([killed, survivor], shop.key, callers=32) as load:
        await asyncio.sleep(1.5)
        killed.process.send_signal(signal.SIGKILL)
        await asyncio.sleep(0.5)
    await sync_to_async(connections.close_all)()

    acknowledged = {told.dispatch_id for told in load.told if told.status == 200}
    logged = {str(row["id"]) for row in dispatch_rows() if row["status"] == "succeeded"}
    assert len(acknowledged) > 100
    assert acknowledged <= logged
    assert len(vendor.ledger.entries) <= len(attempt_rows())
    await asyncio.to_thread(_expire_everything)
    books.assert_they_agree()
    assert all(row["state"] != "open" for row in attempt_rows())
    assert sum(row["cost_nanos"] for row in attempt_rows()) >= vendor.ledger.total_nanos


def _expire_everything() -> None:
    expire_attempts(now=datetime.now(UTC) + timedelta(hours=1))
    connections.close_all()


def _question() -> dict[str, object]:
    return {"model": "auto", "messages": [{"role": "user", "content": "What is 2 + 3?"}]}
