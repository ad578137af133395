"""Read-only views of what the serving processes say of their targets. Each process writes its own rows; see `dispatch_app.health`."""

from django.db import models


class TargetHealth(models.Model):
    """One target as one process sees it: a model, called with one credential in one region."""

    pk = models.CompositePrimaryKey("process_id", "provider_id", "credential", "model_id", "region")
    process_id = models.UUIDField()
    provider_id = models.BigIntegerField()
    credential = models.TextField()
    model_id = models.BigIntegerField()
    region = models.TextField()
    provider = models.TextField()
    model = models.TextField()
    state = models.TextField()
    cause = models.TextField()
    since = models.DateTimeField(null=True)
    until = models.DateTimeField(null=True)
    is_learned = models.BooleanField()
    is_being_probed = models.BooleanField()
    provider_is_degraded = models.BooleanField()
    consecutive_failures = models.IntegerField()
    window_calls = models.IntegerField()
    window_failures = models.IntegerField()
    calls = models.IntegerField()
    failures = models.IntegerField()
    last_fault = models.TextField()
    last_wire_status = models.SmallIntegerField(null=True)
    shared_cause = models.TextField()
    shared_until = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "target_health"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.model} is {self.state} in {self.process_id}"


class ProcessLoad(models.Model):
    """What one process has in hand, how many retries and hedges it may still make, and whether a file stops it."""

    process_id = models.UUIDField(primary_key=True)
    in_flight = models.IntegerField()
    retries_left = models.IntegerField()
    hedges_left = models.IntegerField()
    is_stopped = models.BooleanField(default=False)
    seen_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "process_load"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.in_flight} in flight in {self.process_id}"


class MetricCount(models.Model):
    """One counter of all processes, of those that are gone too. `model_id` is 0 where it is of no model."""

    pk = models.CompositePrimaryKey("metric", "model_id", "label")
    metric = models.TextField()
    model_id = models.BigIntegerField()
    label = models.TextField()
    value = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "metric_count"
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.metric} {self.label}: {self.value}"
