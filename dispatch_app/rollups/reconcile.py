"""Whether log, budgets and rollups say the same, to the nano-dollar. Reads the whole log: for checks, not for pages."""

from dataclasses import dataclass

from django.db import connection, transaction

from dispatch_app.rollups.statements import fetch, fetch_one

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


def find_differences() -> list[Difference]:
    """All that does not agree, in one snapshot of the database. Must not be called inside a transaction."""
    with transaction.atomic(durable=True):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        covered = fetch_one("log_covers")
        return [
            Difference(sides=sides, **{**row, "expected": int(row["expected"]), "found": int(row["found"])})
            for name, sides in CHECKS.items()
            for row in fetch(name, covered)
        ]
