"""Whether log, budgets and rollups say the same, to the nano-dollar.

A UTC day that is over for good is proven once: what its log came to is remembered, and read again only when the figures no
longer agree with that memory. So a run reads the last few days of the log, however long the log is.
"""

from dataclasses import dataclass
from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from dispatch_app.rollups.locks import exclusive
from dispatch_app.rollups.statements import Row, execute, fetch, fetch_one

CHECKS = {
    "log_differs_from_rollups": "attempts in the log, and rollups with pending deltas",
    "ended_dispatches_differ": "ended dispatches in the log, and rollups with pending deltas",
    "dispatches_differ_from_attempts": "attempts of a dispatch, and the dispatch",
    "budgets_differ_from_log": "attempts in the log, and the balance",
    "days_differ_from_hours": "rollups by hour, and by day",
    "months_differ_from_days": "rollups by day, and by month",
    "latencies_differ_from_hours": "answered dispatches by hour, and their histogram",
}
"""By statement: what stands on its two sides, the expected one first."""
MEMORY_SIDES = "what the log was proven to hold, and rollups with pending deltas"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two accounts of one thing that do not agree."""

    sides: str
    subject: str
    measure: str
    expected: int
    found: int

    def __str__(self) -> str:
        return f"{self.subject}: {self.measure} {self.expected} ≠ {self.found} ({self.sides})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one run found. Days before `read_from` were remembered; None where there is no log at all."""

    read_from: datetime | None
    differences: tuple[Difference, ...]


def compare(*, reads_all: bool = False) -> Comparison:
    """Compare in one snapshot of the database, and remember the days that are proven by it.

    Must not be called inside a transaction. With `reads_all`, nothing is believed that can be read in the log. While
    another comparison is going on, this one remembers nothing.
    """
    with exclusive("reconcile") as may_remember, transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        covered = fetch_one("log_covers")
        if reads_all:
            covered["read_from"] = covered["log_since"]
        differences = _differences_of_memory(covered)
        for name, sides in CHECKS.items():
            differences += (_difference(sides, row) for row in fetch(name, covered))
        if may_remember and covered["read_from"] is not None:
            _remember(covered, is_proven=not differences)
    return Comparison(read_from=covered["read_from"], differences=tuple(differences))


def _differences_of_memory(covered: Row) -> list[Difference]:
    """What cannot be read any more is compared with its memory; where a day can be, the log is read from there on."""
    differing = fetch("remembered_days_differ", covered)
    doubted = [row["start"] for row in differing if row["start"] >= covered["log_since"]]
    covered["read_from"] = min([covered["read_from"], *doubted])
    return [_difference(MEMORY_SIDES, row) for row in differing if row["start"] < covered["log_since"]]


def _difference(sides: str, row: Row) -> Difference:
    return Difference(
        sides=sides,
        subject=row["subject"],
        measure=row["measure"],
        expected=int(row["expected"]),
        found=int(row["found"]),
    )


def _remember(covered: Row, *, is_proven: bool) -> None:
    """Replace the memory from where the log was read. What was not proven is read again by the next run."""
    values = {**covered, "now": timezone.now()}
    execute("forget_days", values)
    values |= fetch_one("first_day_not_provable", values)
    if is_proven and values["until"] > values["read_from"]:
        for name in ("remember_days", "remember_tenants", "remember_balances"):
            execute(name, values)
