"""Read-only views of the dispatch log. The ledger's SQL writes these rows; Django only shows them."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Dispatch(models.Model):
    """One request of a client: what was decided, why, what happened, and what it cost."""

    id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField()
    tenant = models.ForeignKey(
        "policies_app.Tenant", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    api_key = models.ForeignKey(
        "policies_app.ApiKey", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    end_user = models.TextField()
    task = models.TextField()
    tags = models.JSONField()
    requested_model = models.TextField()
    policy = models.ForeignKey(
        "policies_app.Policy", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    policy_version = models.IntegerField()
    rule = models.TextField()
    strategy = models.TextField()
    reason = models.JSONField(
        help_text="`words`, `failed` (condition kinds of the rules passed over) and `dropped`."
    )
    stream = models.BooleanField()
    has_idempotency_key = models.BooleanField(default=False)
    status = models.TextField()
    error_code = models.TextField()
    model = models.ForeignKey(
        "policies_app.Model", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    provider = models.ForeignKey(
        "policies_app.Provider", null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    attempts = models.SmallIntegerField()
    answered_by = models.SmallIntegerField(
        null=True, help_text="Position of the attempt that gave the answer."
    )
    validated = models.BooleanField(null=True, help_text="Whether the answer passed its validators.")
    input_tokens = models.BigIntegerField()
    cached_input_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cost_nanos = models.BigIntegerField()
    baseline_cost_nanos = models.BigIntegerField(null=True)
    wasted_nanos = models.BigIntegerField(
        default=0, help_text="The part of the cost that Signalbox itself caused beside the answer."
    )
    estimated = models.BooleanField()
    total_ms = models.IntegerField(null=True)
    first_byte_ms = models.IntegerField(null=True)
    overhead_us = models.IntegerField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "dispatch"
        verbose_name_plural = "dispatches"
        permissions = ()
        default_permissions = ("view",)

    def __str__(self) -> str:
        return str(self.id)

    @property
    def all_input_tokens(self) -> int:
        """What was read, from a cache or not, and written to one."""
        return self.input_tokens + self.cached_input_tokens + self.cache_write_tokens

    @property
    def all_output_tokens(self) -> int:
        """What was written, reasoning included."""
        return self.output_tokens + self.reasoning_tokens


class Attempt(models.Model):
    """One upstream call of a dispatch, with what was reserved for it and what it cost."""

    id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField()
    dispatch_id = models.UUIDField()
    dispatch_created_at = models.DateTimeField()
    tenant = models.ForeignKey(
        "policies_app.Tenant", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    position = models.SmallIntegerField()
    role = models.TextField()
    model = models.ForeignKey(
        "policies_app.Model", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    provider = models.ForeignKey(
        "policies_app.Provider", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    price = models.ForeignKey(
        "policies_app.Price", on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    credential = models.TextField(
        default="", help_text="Label and last four characters of what the provider was called with."
    )
    reserved_nanos = models.BigIntegerField()
    balance_ids = ArrayField(models.BigIntegerField())
    expires_at = models.DateTimeField()
    state = models.TextField()
    wire_status = models.SmallIntegerField(null=True)
    fault = models.TextField()
    response_model = models.TextField()
    validation = models.JSONField(
        default=list,
        help_text="What each validator found: `validator`, `passed`, `expected`, `actual`, `score`.",
    )
    input_tokens = models.BigIntegerField()
    cached_input_tokens = models.BigIntegerField()
    cache_write_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cost_nanos = models.BigIntegerField()
    estimated = models.BooleanField()
    cold = models.BooleanField()
    start_offset_ms = models.IntegerField()
    latency_ms = models.IntegerField(null=True)
    first_byte_ms = models.IntegerField(null=True)
    settled_at = models.DateTimeField(null=True)

    class Meta:
        managed = False
        db_table = "attempt"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.dispatch_id}#{self.position}"
