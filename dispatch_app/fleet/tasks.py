"""Upkeep of the fleet, as Celery tasks. A message is a hint: the database says what is due."""

from celery import shared_task

from dispatch_app.fleet.keep_warm import keep_warm as ping_what_is_due


@shared_task(name="fleet.keep_warm", ignore_result=True)
def keep_warm(**_: object) -> None:
    """Ping the models that are to be kept warm and are about to go cold."""
    ping_what_is_due()
