"""A test alert: goes to one destination, whatever kinds it wants."""

from uuid import uuid4

from django.db import transaction

from dispatch_app.alerts.kinds import AlertKind
from dispatch_app.alerts.raising import address_alert
from dispatch_app.models import Alert, AlertDestination


@transaction.atomic
def send_test_alert(destination: AlertDestination, *, author_name: str) -> Alert:
    """Raise an alert for that destination alone; Celery delivers it like any other."""
    alert = Alert.objects.create(
        kind=AlertKind.TEST,
        key=str(uuid4()),
        tenant=destination.tenant,
        title="This is a test",
        details={"asked_for_by": author_name, "destination": destination.name},
    )
    address_alert(alert, destinations=[destination])
    return alert
