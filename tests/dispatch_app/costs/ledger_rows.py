"""Rows of the log and the rollups, written straight into their tables."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from psycopg.types.json import Jsonb
from uuid_utils.compat import uuid7

_FIGURES: dict[str, Any] = {
    "api_key_id": 1,
    "end_user": "",
    "task": "",
    "policy_id": 0,
    "model_id": 0,
    "outcome": "succeeded",
    "dispatches": 1,
    "attempts": 1,
    "input_tokens": 100,
    "cached_input_tokens": 0,
    "cache_write_tokens": 0,
    "output_tokens": 50,
    "reasoning_tokens": 0,
    "cost_nanos": 1_000,
    "baseline_cost_nanos": 0,
    "wasted_nanos": 0,
}


def now() -> datetime:
    """The moment, asked for each time: a run of the suite may pass midnight."""
    return datetime.now(UTC)


def today() -> date:
    return now().date()


def month_start() -> datetime:
    return now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def add_day(*, tenant_id: int, day: date | None = None, **values: Any) -> None:
    """Figures of a day, in its month too; of today if none is given."""
    day = day or today()
    row = _FIGURES | {"tenant_id": tenant_id} | values
    _insert("rollup_day", row | {"day": day})
    measures = list(_FIGURES)[6:]
    sums = ", ".join(f"{name} = rollup_month.{name} + excluded.{name}" for name in measures)
    _insert(
        "rollup_month",
        row | {"month": day.replace(day=1)},
        f"ON CONFLICT ON CONSTRAINT rollup_month_pkey DO UPDATE SET {sums}",
    )


def add_latency(*, tenant_id: int, bucket: int, dispatches: int) -> None:
    day = today()
    hour = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    _insert(
        "rollup_latency",
        {
            "tenant_id": tenant_id, "hour": hour, "day": day, "policy_id": 1, "model_id": 1, "bucket": bucket,
            "dispatches": dispatches,
        },
    )  # fmt: skip


def add_dispatch(*, tenant_id: int, created_at: datetime | None = None, **values: Any) -> UUID:
    """A dispatch that succeeded, just now if nothing else is said, and its id."""
    created_at = created_at or now()
    row: dict[str, Any] = {
        "id": uuid7(), "created_at": created_at, "tenant_id": tenant_id, "api_key_id": 1, "requested_model": "auto",
        "status": "succeeded", "attempts": 1, "total_ms": 1_200, "cost_nanos": 1_000, "reason": {}, "tags": {},
    } | values  # fmt: skip
    _insert("dispatch", row | {"reason": Jsonb(row["reason"]), "tags": Jsonb(row["tags"])})
    dispatch_id: UUID = row["id"]
    return dispatch_id


def add_attempt(*, dispatch_id: UUID, dispatch_created_at: datetime | None = None, **values: Any) -> None:
    dispatch_created_at = dispatch_created_at or _created_at(dispatch_id)
    row: dict[str, Any] = {
        "id": uuid7(), "created_at": dispatch_created_at + timedelta(milliseconds=1), "dispatch_id": dispatch_id,
        "dispatch_created_at": dispatch_created_at, "tenant_id": 1, "position": 1, "role": "primary", "model_id": 1,
        "provider_id": 1, "price_id": 1, "reserved_nanos": 5_000, "expires_at": dispatch_created_at + timedelta(minutes=2),
        "state": "settled", "wire_status": 200, "cost_nanos": 1_000, "latency_ms": 1_000,
    }  # fmt: skip
    _insert("attempt", row | values)


def _created_at(dispatch_id: UUID) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT created_at FROM dispatch WHERE id = %s", [dispatch_id])
        created_at: datetime = cursor.fetchone()[0]
    return created_at


def add_balance(*, budget_id: int, period_start: datetime, **values: Any) -> None:
    _insert("budget_balance", {"budget_id": budget_id, "period_start": period_start} | values)


def _insert(table: str, row: dict[str, Any], then: str = "") -> None:
    placeholders = ", ".join(["%s"] * len(row))
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(row)}) VALUES ({placeholders}) {then}", list(row.values())
        )
