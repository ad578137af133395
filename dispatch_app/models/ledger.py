"""Read-only views of the ledger's own tables."""

from django.db import models


class BudgetBalance(models.Model):
    """What one budget has granted, settled and reserved in one period. Amounts are nano-dollars."""

    budget = models.ForeignKey("policies_app.Budget", on_delete=models.DO_NOTHING, related_name="balances")
    subject = models.TextField(help_text="The end user, for a budget that applies to each separately.")
    period_start = models.DateTimeField()
    granted_nanos = models.BigIntegerField(null=True)
    settled_nanos = models.BigIntegerField()
    reserved_nanos = models.BigIntegerField()
    overage_nanos = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "budget_balance"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.budget} from {self.period_start:%Y-%m-%d %H:%M}"

    @property
    def spent_nanos(self) -> int:
        """What has been settled, overage included."""
        return self.settled_nanos + self.overage_nanos


class ServingProcess(models.Model):
    """A process of the data plane and the epoch of the snapshot that it serves from."""

    id = models.UUIDField(primary_key=True)
    hostname = models.TextField()
    pid = models.IntegerField()
    started_at = models.DateTimeField()
    epoch = models.BigIntegerField()
    acknowledged_at = models.DateTimeField()
    seen_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "serving_process"
        verbose_name_plural = "serving processes"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.hostname}:{self.pid}"
