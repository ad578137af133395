"""Expiry of attempts that their process never settled."""

from datetime import datetime

from django.db import connection, transaction

SWEEP_LIMIT = 1_000


def expire_attempts(*, now: datetime) -> int:
    """Charge what overdue attempts reserved and end their dispatches; answers how many rows that closed.

    A worker that died may have been billed, so a reservation is charged and never freed. Safe to run twice at once.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT ledger_expire(%s, %s)", [now, SWEEP_LIMIT])
        row = cursor.fetchone()
    return int(row[0])
