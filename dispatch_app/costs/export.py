"""A tenant's month as CSV (RFC 4180), made row by row."""

import csv
from collections.abc import Iterator
from decimal import Decimal
from io import StringIO
from itertools import islice

from dispatch_app.costs.months import Month
from dispatch_app.costs.names import key_labels, model_names, policy_names
from dispatch_app.models import RollupDay
from policies_app.models import Tenant

ROWS_A_PART = 500
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")

_TOKENS = (
    "input_tokens",
    "cached_input_tokens",
    "cache_write_tokens",
    "output_tokens",
    "reasoning_tokens",
)
COLUMNS = (
    "day",
    "tenant",
    "api_key",
    "user",
    "task",
    "policy",
    "model",
    "outcome",
    "dispatches",
    "attempts",
    *_TOKENS,
    "cost_usd",
    "baseline_cost_usd",
    "wasted_usd",
)

Cell = str | int | Decimal


def export_month(*, tenant: Tenant, month: Month) -> Iterator[str]:
    """The month's days as CSV text, in parts. Amounts are USD, exact to the nano-dollar."""
    yield _csv([COLUMNS])
    rows = _rows(tenant, month)
    while part := list(islice(rows, ROWS_A_PART)):
        yield _csv(part)


def guarded(cell: Cell) -> Cell:
    """A cell that no spreadsheet takes for a formula: such a text gets an apostrophe before it, a number stays a number."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA_STARTS) else cell


def _csv(rows: list[tuple[Cell, ...]]) -> str:
    text = StringIO()
    csv.writer(text, lineterminator="\r\n").writerows([_written(cell) for cell in row] for row in rows)
    return text.getvalue()


def _written(cell: Cell) -> Cell:
    # As text, a small Decimal would be 1E-9.
    return f"{cell:f}" if isinstance(cell, Decimal) else guarded(cell)


def _rows(tenant: Tenant, month: Month) -> Iterator[tuple[Cell, ...]]:
    rows = RollupDay.objects.filter(
        tenant_id=tenant.pk, day__gte=month.first_day, day__lt=month.following.first_day
    )
    policies = policy_names(set(rows.values_list("policy_id", flat=True).distinct()))
    models = model_names(set(rows.values_list("model_id", flat=True).distinct()))
    keys = key_labels(tenant.pk)
    in_order = rows.order_by("day", "api_key_id", "end_user", "task", "policy_id", "model_id", "outcome")
    for row in in_order.iterator(chunk_size=ROWS_A_PART):
        yield (
            row.day.isoformat(),
            tenant.name,
            keys.get(row.api_key_id, f"Key {row.api_key_id}"),
            row.end_user,
            row.task,
            policies[row.policy_id] if row.policy_id else "",
            models[row.model_id] if row.model_id else "",
            row.outcome,
            row.dispatches,
            row.attempts,
            *(getattr(row, name) for name in _TOKENS),
            _usd(row.cost_nanos),
            _usd(row.baseline_cost_nanos),
            _usd(row.wasted_nanos),
        )


def _usd(nanos: int) -> Decimal:
    return Decimal(nanos).scaleb(-9)
