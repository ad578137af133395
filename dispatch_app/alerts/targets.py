"""Alerts about targets that somebody has to look after, from what the processes publish of them."""

from datetime import timedelta

from django.db.models.functions import Now
from django.utils import timezone

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.raising import raise_alert
from dispatch_app.execution.breaker import Cause
from dispatch_app.health.publication import FRESH_S
from dispatch_app.models import TargetHealth

KINDS = {
    Cause.CREDENTIAL: (AlertKind.CREDENTIAL_REFUSED, "refuses the credential"),
    Cause.QUOTA: (AlertKind.QUOTA_EXHAUSTED, "says that its quota is used up"),
}
"""By cause that does not pass by itself: the kind of alert, and what the provider does."""


def alert_about_targets() -> None:
    """Tell of refused credentials and exhausted quotas, once a day for each credential of a provider."""
    today = timezone.now().date()
    fresh = TargetHealth.objects.filter(cause__in=KINDS, seen_at__gt=Now() - timedelta(seconds=FRESH_S))
    for row in fresh.order_by("provider_id", "credential", "model"):
        kind, deed = KINDS[Cause(row.cause)]
        raise_alert(
            kind=kind,
            key=f"{row.provider_id}:{row.credential}:{today}",
            tenant_id=None,
            title=": ".join(filter(None, [f"{row.provider} {deed}", row.credential])),
            details={"provider": row.provider, "credential": row.credential, "model": row.model},
        )
