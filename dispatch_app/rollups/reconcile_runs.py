"""Runs of the reconciler: what they found is kept, told once, and marked when it is gone. No figure is changed here."""

import time
from collections.abc import Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.raising import raise_alert
from dispatch_app.models import ReconcileDifference, ReconcileRun
from dispatch_app.rollups.locks import exclusive
from dispatch_app.rollups.reconcile import Comparison, Difference, compare
from dispatch_app.rollups.statements import fetch

MOST_NOTED = 1_000
MOST_TOLD = 20


def reconcile(*, reads_all: bool = False) -> Comparison:
    """Compare, note what came of it, and raise one alert for what no run saw before.

    Must not be called inside a transaction. While another run is going on, this one is not noted.
    """
    with exclusive("reconcile_run") as is_held:
        started_at, began_s = timezone.now(), time.monotonic()
        comparison = compare(reads_all=reads_all)
        if is_held:
            took_ms = round((time.monotonic() - began_s) * 1000)
            _note(comparison, started_at=started_at, took_ms=took_ms)
    return comparison


@transaction.atomic
def _note(comparison: Comparison, *, started_at: datetime, took_ms: int) -> None:
    run = ReconcileRun.objects.create(
        started_at=started_at,
        took_ms=took_ms,
        read_from=comparison.read_from,
        difference_count=len(comparison.differences),
    )
    new = _note_differences(comparison.differences[:MOST_NOTED], seen_at=started_at)
    if new:
        _tell(new, run=run)
    for line in fetch("adjust_closed_months", {"now": started_at}):
        raise_alert(
            kind=AlertKind.RECONCILIATION,
            key=f"adjustment:{line['id']}",
            tenant_id=None,
            title=f"The closed month {line['month']:%Y-%m} of tenant {line['tenant_id']} has changed",
            details={**line, "cost_nanos": int(line["cost_nanos"])},
        )


def _note_differences(differences: Sequence[Difference], *, seen_at: datetime) -> list[Difference]:
    """Write down what stands and what is gone; answers what no run saw before."""
    standing = {
        (row.sides, row.subject, row.measure): row
        for row in ReconcileDifference.objects.filter(gone_at=None).select_for_update()
    }
    new = []
    for difference in differences:
        key = (difference.sides, difference.subject, difference.measure)
        row = standing.pop(key, None)
        if row is None:
            new.append(difference)
            row = ReconcileDifference(sides=key[0], subject=key[1], measure=key[2], first_seen_at=seen_at)
        row.expected, row.found, row.last_seen_at = difference.expected, difference.found, seen_at
        row.save()
    gone = [row.pk for row in standing.values()]
    ReconcileDifference.objects.filter(pk__in=gone).update(gone_at=seen_at)
    return new


def _tell(new: Sequence[Difference], *, run: ReconcileRun) -> None:
    raise_alert(
        kind=AlertKind.RECONCILIATION,
        key=f"run:{run.pk}",
        tenant_id=None,
        title=f"Log, budgets and rollups do not agree: {len(new)} new difference{'s' if len(new) > 1 else ''}",
        details={str(number): str(difference) for number, difference in enumerate(new[:MOST_TOLD], 1)},
    )
