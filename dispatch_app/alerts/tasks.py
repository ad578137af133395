"""Alerts, as Celery tasks. A message is a hint: the database says what is due."""

from celery import shared_task

from dispatch_app.alerts.budgets import alert_about_budgets, alert_about_overages
from dispatch_app.alerts.delivery import deliver_due
from dispatch_app.alerts.kill_switches import alert_about_kill_switches
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


@shared_task(name="alerts.watch_budgets", ignore_result=True)
def watch_budgets(**_: object) -> None:
    """Raise alerts about budgets that have reached a threshold, or were charged more than was reserved."""
    with exclusive("alerts_budgets") as is_held:
        if is_held:
            alert_about_budgets()
            alert_about_overages()


@shared_task(name="alerts.watch_kill_switches", ignore_result=True)
def watch_kill_switches(**_: object) -> None:
    """Raise alerts about kill switches that were thrown or lifted."""
    alert_about_kill_switches()
