"""Tenants and the API keys that their services call with."""

import zoneinfo

from django.core.exceptions import ValidationError
from django.db import models
from django.utils import timezone


def validate_time_zone(value: str) -> None:
    """:raises ValidationError: if the name is not in the IANA time zone database."""
    if value not in zoneinfo.available_timezones():
        raise ValidationError(
            "“%(value)s” is not a time zone such as Europe/Berlin.", params={"value": value}
        )


class Tenant(models.Model):
    """Who pays: a team, a product or a customer."""

    name = models.SlugField(max_length=64, unique=True)
    display_name = models.CharField(max_length=200, blank=True)
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        validators=[validate_time_zone],
        help_text="Its budgets' days and months begin here.",
    )
    enabled = models.BooleanField(default=True, help_text="Off: all of its keys are refused.")
    replay_answers = models.BooleanField(
        default=False,
        help_text="Keep answers to requests with an Idempotency-Key, encrypted and for a day, to repeat them on demand.",
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return self.display_name or self.name


class ApiKey(models.Model):
    """A key of the dispatch API. Only its public id and an HMAC of its secret are kept; the key is shown once."""

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="api_keys")
    label = models.CharField(max_length=64, help_text="Which service uses it.")
    public_id = models.CharField(max_length=10, unique=True, editable=False)
    secret_hmac = models.BinaryField(editable=False)
    policies = models.ManyToManyField(
        "policies_app.Policy",
        blank=True,
        related_name="api_keys",
        help_text="Policies it may use; none chosen means all.",
    )
    may_call_models = models.BooleanField(
        default=False,
        help_text="May name a model instead of a policy, and so bypass routing (never budgets).",
    )
    may_explain_drafts = models.BooleanField(
        default=False, help_text="May ask /v1/explain about unpublished drafts."
    )
    enabled = models.BooleanField(default=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (models.UniqueConstraint(fields=["tenant", "label"], name="api_key_label_unique"),)

    def __str__(self) -> str:
        return f"{self.tenant}/{self.label}"
