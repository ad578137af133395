"""Processes that publish to a real database, and what each learns of the others. A process here is its breakers and its publication."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from dispatch_app.execution.breakers import Breakers
from dispatch_app.execution.hedge_budget import HedgeBudget
from dispatch_app.execution.ports import Target, TargetReport
from dispatch_app.execution.retry_budget import RetryBudget
from dispatch_app.health.publication import HealthPublication
from dispatch_app.health.tally import TalliedHealth, Tally
from policies_app.routing.codes import FaultClass
from policies_app.routing.types import Candidate
from tests.dispatch_app.routing_values import make_candidate

SMALL = make_candidate("small", number=1)
LARGE = make_candidate("large", number=2)


class MachineClock:
    monotonic = staticmethod(time.monotonic)

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class Process:
    """One process: its calls end, and it publishes."""

    conninfo: str
    id: UUID = field(default_factory=uuid4)
    breakers: Breakers = field(default_factory=lambda: Breakers(clock=MachineClock(), random=Random(3)))
    tally: Tally = field(default_factory=lambda: Tally(retries=RetryBudget(), hedges=HedgeBudget()))
    in_flight: int = 0

    def __post_init__(self) -> None:
        self.health = TalliedHealth(health=self.breakers, tally=self.tally)
        self.publication = HealthPublication(
            conninfo=self.conninfo,
            process_id=self.id,
            breakers=self.breakers,
            tally=self.tally,
            in_flight=lambda: self.in_flight,
            monotonic=time.monotonic,
        )

    def ends(
        self,
        candidate: Candidate,
        fault: FaultClass | None = None,
        *,
        times: int = 1,
        retry_after_s: int | None = None,
        wire_status: int | None = None,
        total_ms: int = 300,
    ) -> None:
        report = TargetReport(
            fault=fault,
            retry_after_s=retry_after_s,
            first_byte_ms=None if fault else 40,
            total_ms=total_ms,
            output_tokens=1,
            wire_status=wire_status,
        )
        for _ in range(times):
            self.health.report(Target(candidate=candidate), report)


@pytest_asyncio.fixture
async def connection(conninfo: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as connection:
        yield connection


@pytest.fixture
def process(conninfo: str) -> Process:
    return Process(conninfo)


@pytest.fixture
def other(conninfo: str) -> Process:
    return Process(conninfo)


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[None]:
    await process.publication.start()
    try:
        yield
    finally:
        await process.publication.stop()


async def rows(
    connection: psycopg.AsyncConnection, columns: str, table: str = "target_health"
) -> list[tuple]:
    cursor = await connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2")
    return await cursor.fetchall()


async def until_rows_are(
    expected: list[tuple], connection: psycopg.AsyncConnection, columns: str, table: str = "target_health"
) -> None:
    for _ in range(250):
        if await rows(connection, columns, table) == expected:
            return
        await asyncio.sleep(0.02)
    assert await rows(connection, columns, table) == expected


async def test_a_process_publishes_how_its_targets_fare(
    process: Process, connection: psycopg.AsyncConnection
) -> None:
    process.ends(SMALL, times=5)
    process.ends(SMALL, FaultClass.SERVER_ERROR, times=5, wire_status=503)
    process.ends(LARGE)

    await process.publication.publish(connection)

    assert await rows(
        connection,
        "model, provider, state, cause, calls, failures, last_fault, last_wire_status, consecutive_failures",
    ) == [
        ("large", "vendor", "healthy", "", 1, 0, "", None, 0),
        ("small", "vendor", "open", "failures", 10, 5, "server_error", 503, 5),
    ]
    [(seconds_left, age)] = await rows(
        connection,
        "extract(epoch FROM until - now())::float, extract(epoch FROM now() - since)::float",
        "target_health WHERE model = 'small'",
    )
    assert 4 < seconds_left <= 5.5
    assert 0 <= age < 1


async def test_rows_are_replaced_and_those_of_forgotten_targets_go(
    process: Process, connection: psycopg.AsyncConnection
) -> None:
    process.ends(SMALL)
    await process.publication.publish(connection)
    process.breakers._targets.clear()
    process.ends(LARGE, times=2)

    await process.publication.publish(connection)

    assert await rows(connection, "model, calls") == [("large", 2)]


async def test_long_rate_limits_are_taken_over_and_failures_are_not(
    process: Process, other: Process, connection: psycopg.AsyncConnection
) -> None:
    process.ends(SMALL, FaultClass.RATE_LIMITED, retry_after_s=120)
    process.ends(LARGE, FaultClass.SERVER_ERROR, times=5)
    await process.publication.publish(connection)

    await other.publication.publish(connection)

    assert not other.breakers.admits(Target(candidate=SMALL))
    assert other.breakers.admits(Target(candidate=LARGE))
    until = other.breakers.fleet_health()[0]["small"].until
    assert until is not None
    assert 118 < (until - datetime.now(UTC)).total_seconds() < 133


async def test_what_was_learned_is_given_up_when_the_other_takes_it_back(
    process: Process, other: Process, connection: psycopg.AsyncConnection
) -> None:
    process.ends(SMALL, FaultClass.QUOTA_EXHAUSTED)
    await process.publication.publish(connection)
    await other.publication.publish(connection)
    await process.publication.publish(connection)
    assert not other.breakers.admits(Target(candidate=SMALL))

    process.ends(SMALL, total_ms=0)  # somebody has paid
    assert process.breakers.admits(Target(candidate=SMALL))
    await process.publication.publish(connection)
    await other.publication.publish(connection)

    assert other.breakers.admits(Target(candidate=SMALL))


async def test_a_telling_that_says_the_same_changes_nothing(
    process: Process, other: Process, connection: psycopg.AsyncConnection
) -> None:
    process.ends(SMALL, FaultClass.QUOTA_EXHAUSTED)
    await process.publication.publish(connection)
    await other.publication.publish(connection)
    changes = other.breakers.changes

    for _ in range(5):
        await process.publication.publish(connection)
        await other.publication.publish(connection)

    assert other.breakers.changes == changes


async def test_rows_of_a_process_that_died_are_not_believed(
    process: Process, other: Process, connection: psycopg.AsyncConnection
) -> None:
    process.ends(SMALL, FaultClass.QUOTA_EXHAUSTED)
    await process.publication.publish(connection)
    await connection.execute("UPDATE target_health SET seen_at = now() - interval '11 seconds'")

    await other.publication.publish(connection)

    assert other.breakers.admits(Target(candidate=SMALL))


async def test_rows_of_a_process_that_died_vanish(
    process: Process, other: Process, connection: psycopg.AsyncConnection
) -> None:
    process.ends(SMALL)
    await process.publication.publish(connection)
    for table in ("target_health", "process_load"):
        await connection.execute(f"UPDATE {table} SET seen_at = now() - interval '61 seconds'")

    async with running(other):
        await until_rows_are([], connection, "process_id, model")

    assert await rows(connection, "process_id, in_flight", "process_load") == []


async def test_changes_are_published_at_once_and_removed_on_stop(
    process: Process, connection: psycopg.AsyncConnection
) -> None:
    process.in_flight = 3
    async with running(process):
        await until_rows_are([(process.id, 3)], connection, "process_id, in_flight", "process_load")
        process.ends(SMALL, FaultClass.CREDENTIAL_REFUSED)
        started_at = time.monotonic()
        await until_rows_are([("open", "credential")], connection, "state, cause")
        assert time.monotonic() - started_at < 1.5

    assert await rows(connection, "process_id, model") == []
    assert await rows(connection, "process_id, in_flight", "process_load") == []


async def test_counts_of_all_processes_add_up_and_outlive_them(
    process: Process, other: Process, connection: psycopg.AsyncConnection
) -> None:
    async with running(process), running(other):
        process.ends(SMALL, times=3)
        other.ends(SMALL, times=2)
        other.ends(SMALL, FaultClass.SERVER_ERROR)
        assert process.tally.retries.spend(now=time.monotonic())

    async with running(other):
        other.ends(SMALL)

    assert await rows(connection, "metric, label, model_id, value", "metric_count") == [
        ("attempts", "answered", 1, 6),
        ("attempts", "server_error", 1, 1),
        ("duration_bucket", "500", 1, 6),
        ("duration_sum", "", 1, 1_800),
        ("first_byte_bucket", "50", 1, 6),
        ("first_byte_sum", "", 1, 240),
        ("retries", "spent", 0, 1),
    ]


async def test_what_needs_attention_is_logged_once(
    process: Process, connection: psycopg.AsyncConnection, caplog: pytest.LogCaptureFixture
) -> None:
    process.ends(SMALL, FaultClass.CREDENTIAL_REFUSED)
    process.ends(LARGE, FaultClass.SERVER_ERROR, times=5)

    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            await process.publication.publish(connection)

    assert [record.getMessage() for record in caplog.records] == [
        "small of vendor needs attention: credential."
    ]


async def test_without_a_database_it_serves_on_and_tells_later(
    process: Process, connection: psycopg.AsyncConnection
) -> None:
    conninfo = process.publication._conninfo
    process.publication._conninfo = "host=127.0.0.1 port=1 connect_timeout=1"
    async with running(process):
        process.ends(SMALL)
        await asyncio.sleep(0.2)
        process.publication._conninfo = conninfo

    assert await rows(connection, "metric, value", "metric_count WHERE metric = 'attempts'") == [
        ("attempts", 1)
    ]
