"""Alerts, as Celery tasks. A message is a hint: the database says what is due."""

from celery import shared_task

from dispatch_app.alerts.delivery import deliver_due
from dispatch_app.alerts.targets import alert_about_targets
from dispatch_app.rollups.locks import exclusive


@shared_task(name="alerts.deliver", ignore_result=True)
def deliver(**_: object) -> None:
    """Deliver the alerts that are due."""
    with exclusive("alerts") as is_held:
        if is_held:
            deliver_due()


@shared_task(name="alerts.watch_targets", ignore_result=True)
def watch_targets(**_: object) -> None:
    """Raise alerts about targets that somebody has to look after."""
    alert_about_targets()
