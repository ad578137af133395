"""Expiry: of attempts that their process never settled, and of idempotency keys."""

from datetime import datetime

from django.db import connection, transaction

SWEEP_LIMIT = 1_000
FORGET_LIMIT = 1_000


def expire_attempts(*, now: datetime) -> int:
    """Charge what overdue attempts reserved and end their dispatches; answers how many rows that closed.

    A worker that died may have been billed, so a reservation is charged and never freed. Safe to run twice at once.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT ledger_expire(%s, %s)", [now, SWEEP_LIMIT])
        row = cursor.fetchone()
    return int(row[0])


def forget_keys() -> int:
    """Remove the idempotency keys that are past their lifetime, with the answers kept for them; answers how many.

    Each batch is a transaction of its own, so that nobody waits for all of them.
    """
    forgotten = batch = FORGET_LIMIT
    total = 0
    while forgotten == batch:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT idempotency_forget(%s)", [batch])
            forgotten = int(cursor.fetchone()[0])
        total += forgotten
    return total
