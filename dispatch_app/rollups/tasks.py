"""Housekeeping, as Celery tasks. A message is a hint: each task looks at the database, and may run any number of times."""

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from dispatch_app.ledger.sweep import expire_attempts, forget_keys
from dispatch_app.rollups.drain import drain_deltas
from dispatch_app.rollups.locks import exclusive
from dispatch_app.rollups.partitions import create_partitions, drop_old_partitions
from dispatch_app.rollups.reconcile_runs import reconcile as reconcile_books


@shared_task(name="rollups.drain", ignore_result=True)
def drain(**_: object) -> None:
    """Add what was settled to the figures."""
    with exclusive("drain") as is_held:
        if is_held:
            drain_deltas()


@shared_task(name="rollups.sweep", ignore_result=True)
def sweep(**_: object) -> None:
    """Charge and close the attempts that their process never settled."""
    with exclusive("sweep") as is_held:
        if is_held:
            expire_attempts(now=timezone.now())


@shared_task(name="rollups.forget_keys", ignore_result=True)
def forget_idempotency_keys(**_: object) -> None:
    """Remove idempotency keys, and the answers kept for them, once their time is over."""
    with exclusive("forget_keys") as is_held:
        if is_held:
            forget_keys()


@shared_task(name="rollups.keep_partitions", ignore_result=True)
def keep_partitions(**_: object) -> None:
    """Create the log's partitions ahead, and drop those past their retention."""
    today = timezone.now().date()
    with exclusive("keep_partitions") as is_held:
        if is_held:
            create_partitions(today=today)
            drop_old_partitions(today=today, retention_days=settings.LOG_RETENTION_DAYS)


@shared_task(name="rollups.reconcile", ignore_result=True)
def reconcile(**_: object) -> None:
    """Compare log, budgets and rollups; days that were proven before are taken from memory."""
    with exclusive("reconcile_task") as is_held:
        if is_held:
            reconcile_books()


@shared_task(name="rollups.reconcile_all", ignore_result=True)
def reconcile_all(**_: object) -> None:
    """The same, and read the whole log."""
    with exclusive("reconcile_task") as is_held:
        if is_held:
            reconcile_books(reads_all=True)
