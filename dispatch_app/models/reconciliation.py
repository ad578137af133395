"""What came of comparing log, budgets and rollups."""

from django.db import models
from django.db.models import Q


class ReconcileRun(models.Model):
    """One comparison. Days of the log before `read_from` were taken from the memory of an earlier proof."""

    started_at = models.DateTimeField()
    took_ms = models.PositiveIntegerField()
    read_from = models.DateTimeField(null=True)
    difference_count = models.PositiveIntegerField()

    class Meta:
        default_permissions = ("view", "add")
        indexes = (models.Index(fields=["-started_at"], name="reconcile_run_by_time"),)

    def __str__(self) -> str:
        return f"{self.started_at:%Y-%m-%d %H:%M:%S}"


class ReconcileDifference(models.Model):
    """Two accounts of one thing that do not agree, from when a run saw it first until one did not see it any more."""

    sides = models.TextField()
    subject = models.TextField()
    measure = models.TextField()
    expected = models.DecimalField(max_digits=40, decimal_places=0)
    found = models.DecimalField(max_digits=40, decimal_places=0)
    first_seen_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True)

    class Meta:
        default_permissions = ("view",)
        constraints = (
            models.UniqueConstraint(
                fields=["sides", "subject", "measure"],
                condition=Q(gone_at__isnull=True),
                name="reconcile_difference_stands_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.subject}: {self.measure} {self.expected} ≠ {self.found}"

    @property
    def surplus(self) -> int:
        """What was found beyond what was expected; negative where something is missing."""
        return int(self.found - self.expected)

    @property
    def missing(self) -> int:
        """The same, the other way round."""
        return -self.surplus
