"""Deltas as the ledger writes them, and sums over what became of them."""

from datetime import UTC, datetime
from typing import Any

from django.db import connection

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)

_DEFAULTS: dict[str, Any] = {
    "hour": NOON,
    "tenant_id": 1,
    "api_key_id": 1,
    "end_user": "",
    "task": "support",
    "policy_id": 1,
    "model_id": 1,
    "outcome": "succeeded",
    "latency_bucket": 30,
    "dispatches": 1,
    "attempts": 1,
    "input_tokens": 10,
    "cached_input_tokens": 0,
    "cache_write_tokens": 0,
    "output_tokens": 5,
    "reasoning_tokens": 0,
    "cost_nanos": 1_000,
    "baseline_cost_nanos": 4_000,
}


def add_delta(**values: Any) -> None:
    row = _DEFAULTS | values
    columns = ", ".join(row)
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO rollup_delta ({columns}) VALUES ({', '.join(['%s'] * len(row))})",
            list(row.values()),
        )


def add_many_deltas(count: int) -> None:
    """`count` deltas over 7 users, 3 models and 48 hours, with costs 1, 2, 3 … nano-dollars."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO rollup_delta (hour, tenant_id, api_key_id, end_user, task, policy_id, model_id, outcome,
                   latency_bucket, dispatches, attempts, input_tokens, cached_input_tokens, cache_write_tokens,
                   output_tokens, reasoning_tokens, cost_nanos, baseline_cost_nanos)
            SELECT %s + (n %% 48) * interval '1 hour', n %% 2 + 1, 1, 'user-' || n %% 7, 'support', 1, n %% 3 + 1,
                   'succeeded', 20 + n %% 11, 1, 1, 10, 0, 0, 5, 0, n, 2 * n
              FROM generate_series(1, %s) AS n
            """,
            [NOON, count],
        )


def rows_of(table: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table}")
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def total(table: str, measure: str = "cost_nanos") -> int:
    return sum(row[measure] for row in rows_of(table))
