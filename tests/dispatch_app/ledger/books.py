"""Records to put into the ledger, and the sums that must agree whatever happened."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from uuid_utils.compat import uuid7

from dispatch_app.execution.ports import AttemptRecord, BudgetKey, DispatchOutcome, DispatchRecord, Settlement
from policies_app.models import Budget, Tenant
from policies_app.routing.codes import (
    AttemptRole,
    AttemptState,
    BudgetAction,
    DispatchStatus,
    FaultClass,
    Strategy,
)
from policies_app.routing.types import Usage

NOW = datetime.now(UTC)
PERIOD_START = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def make_budget(
    *, tenant: Tenant, limit_nanos: int, action: BudgetAction = BudgetAction.REJECT, name: str = "cap"
) -> BudgetKey:
    budget = Budget.objects.create(tenant=tenant, name=name, limit_nanos=limit_nanos, action=action)
    return key_of(budget)


def key_of(budget: Budget, *, subject: str = "") -> BudgetKey:
    return BudgetKey(budget_id=budget.pk, subject=subject, period_start=PERIOD_START)


def a_dispatch(**changes: Any) -> DispatchRecord:
    values = {
        "id": uuid7(), "created_at": datetime.now(UTC), "tenant_id": 1, "api_key_id": 1, "end_user": "", "task": "support",
        "tags": {}, "requested_model": "auto", "policy_id": 1, "policy_version": 1, "rule": "default",
        "strategy": Strategy.FAILOVER, "reason": {"words": "", "failed": [], "dropped": []}, "stream": False,
    }  # fmt: skip
    return DispatchRecord(**(values | changes))


def an_attempt(*, reserved_nanos: int = 1_000, **changes: Any) -> AttemptRecord:
    now = datetime.now(UTC)
    values = {
        "id": uuid7(), "created_at": now, "position": 1, "role": AttemptRole.PRIMARY, "model_id": 1, "provider_id": 1,
        "price_id": 1, "reserved_nanos": reserved_nanos, "expires_at": now + timedelta(minutes=2), "start_offset_ms": 0,
    }  # fmt: skip
    values |= changes
    return AttemptRecord(**({"is_first": values["position"] == 1} | values))


def an_outcome(**changes: Any) -> DispatchOutcome:
    values = {
        "status": DispatchStatus.SUCCEEDED, "error_code": "", "model_id": 1, "provider_id": 1, "baseline_cost_nanos": None,
        "total_ms": 12, "first_byte_ms": None, "overhead_us": 300, "finished_at": datetime.now(UTC),
    }  # fmt: skip
    return DispatchOutcome(**(values | changes))


def a_settlement(
    attempt: AttemptRecord,
    *,
    cost_nanos: int,
    outcome: DispatchOutcome | None = None,
    fault: FaultClass | None = None,
) -> Settlement:
    return Settlement(
        attempt_id=attempt.id, attempt_created_at=attempt.created_at, state=AttemptState.SETTLED, wire_status=200,
        fault=fault, response_model="small", usage=Usage(input_tokens=3, output_tokens=5), cost_nanos=cost_nanos,
        estimated=False, cold=False, latency_ms=10, first_byte_ms=None, settled_at=datetime.now(UTC), outcome=outcome,
    )  # fmt: skip


@dataclass
class Books:
    """Reads what the ledger says, on a connection of its own."""

    connection: psycopg.Connection
    tables: tuple[str, ...] = field(default=("dispatch", "attempt"))

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query, values).fetchall()

    def balance(self, key: BudgetKey) -> tuple[int, int, int]:
        """Settled, reserved and overage of one balance; zeros where there is none."""
        rows = self.rows(
            "SELECT * FROM budget_balance WHERE budget_id = %s AND subject = %s AND period_start = %s",
            key.budget_id, key.subject, key.period_start,
        )  # fmt: skip
        return (
            (rows[0]["settled_nanos"], rows[0]["reserved_nanos"], rows[0]["overage_nanos"])
            if rows
            else (0, 0, 0)
        )

    def attempts(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM attempt ORDER BY created_at, id")

    def dispatches(self) -> list[dict[str, Any]]:
        return self.rows("SELECT * FROM dispatch ORDER BY created_at, id")

    def assert_they_agree(self) -> None:
        """Log = budgets = rollup deltas, as integers."""
        for balance in self.rows("SELECT * FROM budget_balance"):
            carried = [attempt for attempt in self.attempts() if balance["id"] in attempt["balance_ids"]]
            spent = sum(attempt["cost_nanos"] for attempt in carried)
            held = sum(attempt["reserved_nanos"] for attempt in carried if attempt["state"] == "open")
            assert balance["settled_nanos"] + balance["overage_nanos"] == spent
            assert balance["reserved_nanos"] == held
        by_dispatch: dict[Any, int] = {}
        for attempt in self.attempts():
            by_dispatch[attempt["dispatch_id"]] = (
                by_dispatch.get(attempt["dispatch_id"], 0) + attempt["cost_nanos"]
            )
        for dispatch in self.dispatches():
            assert dispatch["cost_nanos"] == by_dispatch.get(dispatch["id"], 0)
        delta = self.rows(
            "SELECT coalesce(sum(cost_nanos), 0) AS cost, coalesce(sum(dispatches), 0) AS ended FROM rollup_delta"
        )[0]
        assert delta["cost"] == sum(attempt["cost_nanos"] for attempt in self.attempts())
        assert delta["ended"] == sum(dispatch["status"] != "open" for dispatch in self.dispatches())


async def somebody_waits(books: Books) -> None:
    """Until a lane waits for somebody else's lock."""
    for _ in range(1_500):
        if books.rows(
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name LIKE 'signalbox-%%'"
        ):
            return
        await asyncio.sleep(0.02)
    pytest.fail("Nobody waits.")
