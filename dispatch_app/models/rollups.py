"""Read-only views of the rollups. The drain's SQL writes these rows; ids are 0 where a dispatch had none."""

from django.db import models


class Figures(models.Model):
    """What dispatches of one kind add up to in one bucket of time. `outcome` is how they ended, or `continued`."""

    tenant_id = models.BigIntegerField()
    api_key_id = models.BigIntegerField()
    end_user = models.TextField()
    task = models.TextField()
    policy_id = models.BigIntegerField()
    model_id = models.BigIntegerField()
    outcome = models.TextField()
    dispatches = models.BigIntegerField()
    attempts = models.BigIntegerField()
    input_tokens = models.BigIntegerField()
    cached_input_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cost_nanos = models.BigIntegerField()
    baseline_cost_nanos = models.BigIntegerField()
    wasted_nanos = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class RollupDay(Figures):
    """A day in the time zone that the tenant had then."""

    pk = models.CompositePrimaryKey(
        "tenant_id", "day", "api_key_id", "end_user", "task", "policy_id", "model_id", "outcome"
    )
    day = models.DateField()

    class Meta:
        managed = False
        db_table = "rollup_day"
        default_permissions = ()
        permissions = (("view_costs", "Can see the cost pages"),)

    def __str__(self) -> str:
        return f"{self.tenant_id} on {self.day}"


class RollupMonth(Figures):
    """A month of such days, named by its first."""

    pk = models.CompositePrimaryKey(
        "tenant_id", "month", "api_key_id", "end_user", "task", "policy_id", "model_id", "outcome"
    )
    month = models.DateField()

    class Meta:
        managed = False
        db_table = "rollup_month"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.tenant_id} in {self.month:%Y-%m}"


class RollupLatency(models.Model):
    """How many dispatches were answered within one bucket of duration, by the SQL function `latency_bucket`."""

    pk = models.CompositePrimaryKey("tenant_id", "hour", "policy_id", "model_id", "bucket")
    tenant_id = models.BigIntegerField()
    hour = models.DateTimeField()
    day = models.DateField()
    policy_id = models.BigIntegerField()
    model_id = models.BigIntegerField()
    bucket = models.SmallIntegerField()
    dispatches = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "rollup_latency"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.tenant_id} at {self.hour}: {self.bucket}"
