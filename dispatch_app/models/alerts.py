"""Alerts, where they go, and what became of them on the way."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q
from django.utils import timezone

from dispatch_app.alerts.kinds import DeliveryState
from policies_app.models import Tenant


class AlertDestination(models.Model):
    """One e-mail address or webhook that hears of a tenant's alerts, or of the installation's."""

    name = models.CharField(max_length=64, unique=True)
    tenant = models.ForeignKey(
        Tenant,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="alert_destinations",
        help_text="Whose alerts go there; none: those of the installation.",
    )
    email = models.EmailField(blank=True, verbose_name="e-mail address")
    webhook_url = models.URLField(max_length=500, blank=True, verbose_name="webhook")
    allow_private_network = models.BooleanField(
        default=False, help_text="The webhook may stand in a private network, and may do without TLS."
    )
    sealed_secret = models.BinaryField(null=True, editable=False)
    kinds = ArrayField(
        models.CharField(max_length=32), default=list, blank=True, help_text="None chosen means all."
    )
    enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(email="") ^ Q(webhook_url=""), name="alert_destination_is_one_of_two"
            ),
        )

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """Something that people should know, once for each kind and key."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=32)
    key = models.CharField(max_length=500, help_text="What makes it one of its kind.")
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, null=True, related_name="alerts")
    title = models.CharField(max_length=500)
    details = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions = ("view",)
        constraints = (models.UniqueConstraint(fields=["kind", "key"], name="alert_is_raised_once"),)
        indexes = (models.Index(fields=["-created_at"], name="alert_by_time"),)

    def __str__(self) -> str:
        return self.title


class AlertDelivery(models.Model):
    """The way of one alert to one destination."""

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="deliveries")
    destination = models.ForeignKey(AlertDestination, on_delete=models.CASCADE, related_name="deliveries")
    state = models.CharField(max_length=16, default=DeliveryState.PENDING.value)
    tries = models.PositiveSmallIntegerField(default=0)
    next_try_at = models.DateTimeField(default=timezone.now)
    delivered_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=200, blank=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name_plural = "alert deliveries"
        constraints = (
            models.UniqueConstraint(fields=["alert", "destination"], name="alert_goes_once_to_each"),
        )
        indexes = (
            models.Index(
                fields=["next_try_at"],
                name="alert_delivery_due",
                condition=Q(state=DeliveryState.PENDING.value),
            ),
        )

    def __str__(self) -> str:
        return f"{self.alert} to {self.destination}"
