"""Raising alerts: one row each, whoever notices and however often."""

from collections.abc import Mapping

from django.db import transaction
from django.db.models import Q

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.models import Alert, AlertDelivery, AlertDestination


@transaction.atomic
def raise_alert(
    *, kind: AlertKind, key: str, tenant_id: int | None, title: str, details: Mapping[str, object]
) -> bool:
    """Tell everybody concerned, unless an alert of that kind and key was raised before; answers whether it was new.

    The alert stands and falls with the caller's transaction. Celery delivers it once that has committed: to every enabled
    destination of the tenant, or of the installation where there is no tenant. `details` must be writable as JSON.
    """
    alert, is_new = Alert.objects.get_or_create(
        kind=kind, key=key, defaults={"tenant_id": tenant_id, "title": title[:500], "details": dict(details)}
    )
    if is_new:
        address_alert(alert, destinations=_destinations_of(kind=kind, tenant_id=tenant_id))
    return is_new


def address_alert(alert: Alert, *, destinations: list[AlertDestination]) -> None:
    """Note that `alert` is to be delivered to these, and hint so to Celery. Call this inside a transaction."""
    AlertDelivery.objects.bulk_create(
        AlertDelivery(alert=alert, destination=destination) for destination in destinations
    )
    # A broker that is away must not harm the caller: the next periodic run delivers.
    transaction.on_commit(_hint, robust=True)


def _destinations_of(*, kind: AlertKind, tenant_id: int | None) -> list[AlertDestination]:
    wanted = Q(kinds=[]) | Q(kinds__contains=[kind])
    whose = Q(tenant__isnull=True) if tenant_id is None else Q(tenant_id=tenant_id)
    return list(AlertDestination.objects.filter(wanted, whose, enabled=True))


def _hint() -> None:
    from dispatch_app.alerts.tasks import deliver

    deliver.apply_async(retry=False)
