"""Delivery of alerts, as a Celery task. A message is a hint: the database says what is due."""

from celery import shared_task

from dispatch_app.alerts.delivery import deliver_due
from dispatch_app.rollups.locks import exclusive


@shared_task(name="alerts.deliver", ignore_result=True)
def deliver(**_: object) -> None:
    """Deliver the alerts that are due."""
    with exclusive("alerts") as is_held:
        if is_held:
            deliver_due()
