"""The ledger alone: begin and settle of one hot tenant with three hard budgets, from one process, without HTTP.

Twice: as fast as it goes, for the cycles in a second; and with a call of a tenth of a second between begin and settle, for
what the two add to it. (Without the call, 256 callers at 10,000 cycles a second would wait for each other for 26 ms.)
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from uuid_utils.compat import uuid7

from bench.database import postgres_pid
from bench.fixtures import USD
from bench.processes import cpu_seconds
from bench.report import Bar, Report
from dispatch_app.database import database_conninfo
from dispatch_app.execution.ports import (
    AttemptRecord,
    BudgetKey,
    DispatchOutcome,
    DispatchRecord,
    Settlement,
    Verdict,
)
from dispatch_app.ledger.ledger import PostgresLedger
from dispatch_app.snapshot.budget_usage import BudgetUsage
from policies_app.models import Budget, Tenant
from policies_app.routing.codes import AttemptRole, AttemptState, BudgetScope, DispatchStatus, Strategy
from policies_app.routing.types import Usage

CYCLES_BY_IN_FLIGHT = {1: 500, 32: 10_000, 256: 20_000}
CALLS_EACH = 40
P50_BAR_MS, P99_BAR_MS = 8.0, 25.0
PATIENCE_S = 5.0
CALL_S = 0.1


@dataclass(slots=True, kw_only=True)
class Cycles:
    """Begins and settles dispatches, and notes how long each pair took."""

    ledger: PostgresLedger
    budgets: tuple[BudgetKey, ...]
    call_s: float
    took_s: list[float] = field(default_factory=list)

    async def run(self, *, in_flight: int, cycles: int) -> float:
        """So many cycles by so many callers; answers the seconds that it took in all."""
        self.took_s.clear()
        left = iter(range(cycles))
        started_at = time.perf_counter()
        await asyncio.gather(*(self._caller(left) for _ in range(in_flight)))
        return time.perf_counter() - started_at

    async def _caller(self, left: Iterator[int]) -> None:
        for _ in left:
            await self._cycle()

    async def _cycle(self) -> None:
        now = datetime.now(UTC)
        dispatch, attempt = _dispatch(now), _attempt(now)
        started_at = time.perf_counter()
        verdict = await self.ledger.begin(dispatch=dispatch, attempt=attempt, budgets=self.budgets)
        called_at = time.perf_counter()
        if self.call_s:
            await asyncio.sleep(self.call_s)
        ended_at = time.perf_counter()
        is_settled = await self.ledger.settle(settlement=_settlement(attempt))
        self.took_s.append(time.perf_counter() - ended_at + called_at - started_at)
        if verdict.verdict is not Verdict.ADMITTED or not is_settled:
            raise RuntimeError(f"The ledger said {verdict.verdict}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Cycles in a second, the CPU of each in this process and in PostgreSQL, and the seconds that begin and settle added."""

    per_second: int
    process_us: float
    postgres_us: float
    added_s: list[float]


def measure_ledger(report: Report, tenant: Tenant) -> None:
    """Add the figures of each concurrency, and the bars of the highest."""
    budgets = tuple(_budgets(tenant))
    most_per_second, p50_ms, p99_ms = 0, 0.0, 0.0
    for in_flight, cycles in CYCLES_BY_IN_FLIGHT.items():
        bare = _measure(budgets, in_flight=in_flight, cycles=cycles, call_s=0)
        around = _measure(budgets, in_flight=in_flight, cycles=in_flight * CALLS_EACH, call_s=CALL_S)
        most_per_second = bare.per_second
        p50_ms, p99_ms = (_percentile(around.added_s, percent) * 1000 for percent in (50, 99))
        report.add_figures(
            ledger_in_flight=in_flight,
            cycles_per_second=most_per_second,
            process_cpu_us=bare.process_us,
            postgres_cpu_us=bare.postgres_us,
            added_p50_ms=p50_ms,
            added_p99_ms=p99_ms,
        )
    of = f"begin and settle at {max(CYCLES_BY_IN_FLIGHT)} in flight"
    report.bars += [
        Bar(name=f"{of}, p50", figure=p50_ms, at_most=P50_BAR_MS, unit="ms"),
        Bar(name=f"{of}, p99", figure=p99_ms, at_most=P99_BAR_MS, unit="ms"),
        Bar(
            name="10,000 cycles of the ledger alone",
            figure=10_000 / max(1, most_per_second),
            at_most=1.0,
            unit="s",
        ),
    ]


def _measure(budgets: tuple[BudgetKey, ...], *, in_flight: int, cycles: int, call_s: float) -> Measured:
    postgres = postgres_pid()

    async def run() -> Measured:
        ledger = PostgresLedger(
            conninfo=database_conninfo(), budget_usage=BudgetUsage(), begin_patience_s=PATIENCE_S
        )
        await ledger.start()
        try:
            load = Cycles(ledger=ledger, budgets=budgets, call_s=call_s)
            await load.run(in_flight=in_flight, cycles=cycles // 10)
            process_before, postgres_before = time.process_time(), cpu_seconds(postgres)
            seconds = await load.run(in_flight=in_flight, cycles=cycles)
            process_s = time.process_time() - process_before
            postgres_s = cpu_seconds(postgres) - postgres_before
        finally:
            await ledger.stop()
        return Measured(
            per_second=round(cycles / seconds),
            process_us=process_s / cycles * 1e6,
            postgres_us=postgres_s / cycles * 1e6,
            added_s=load.took_s,
        )

    return asyncio.run(run())


def _budgets(tenant: Tenant) -> list[BudgetKey]:
    month = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return [
        BudgetKey(
            budget_id=Budget.objects.create(
                tenant=tenant, name=name, scope=scope, limit_nanos=1_000_000 * USD
            ).pk,
            subject=subject,
            period_start=month,
        )
        for name, scope, subject in (
            ("one cap", BudgetScope.TENANT, ""),
            ("another", BudgetScope.TENANT, ""),
            ("cap of each user", BudgetScope.END_USER, "one"),
        )
    ]


def _dispatch(now: datetime) -> DispatchRecord:
    return DispatchRecord(
        id=uuid7(), created_at=now, tenant_id=1, api_key_id=1, end_user="one", task="bench", tags={"team": "support"},
        requested_model="bench", policy_id=1, policy_version=1, rule="rule-19", strategy=Strategy.FAILOVER,
        reason={"words": "task is bench", "failed": [], "dropped": []}, stream=False,
    )  # fmt: skip


def _attempt(now: datetime) -> AttemptRecord:
    return AttemptRecord(
        id=uuid7(), created_at=now, position=1, role=AttemptRole.PRIMARY, model_id=1, provider_id=1, price_id=1,
        reserved_nanos=1_000_000, expires_at=now + timedelta(minutes=2), start_offset_ms=0, is_first=True,
    )  # fmt: skip


def _settlement(attempt: AttemptRecord) -> Settlement:
    now = datetime.now(UTC)
    outcome = DispatchOutcome(
        status=DispatchStatus.SUCCEEDED, error_code="", answered_by=1, model_id=1, provider_id=1, baseline_cost_nanos=900_000,
        total_ms=12, first_byte_ms=None, overhead_us=300, finished_at=now,
    )  # fmt: skip
    return Settlement(
        attempt_id=attempt.id, attempt_created_at=attempt.created_at, state=AttemptState.SETTLED, wire_status=200, fault=None,
        response_model="small", usage=Usage(input_tokens=300, output_tokens=50), cost_nanos=700_000, estimated=False,
        cold=False, latency_ms=10, first_byte_ms=None, settled_at=now, outcome=outcome,
    )  # fmt: skip


def _percentile(figures: list[float], percent: float) -> float:
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
