"""The Celery application: housekeeping of the ledger and the rollups, alerts, and pings that keep models warm.

A message is a hint and the database is the truth, so a task may be delivered any number of times, beat may run twice, and
nothing that a message carries decides anything.
"""

import os

from celery import Celery

from dispatch_app.alerts.schedule import BEAT_SCHEDULE as ALERTS_SCHEDULE
from dispatch_app.fleet.schedule import BEAT_SCHEDULE as FLEET_SCHEDULE
from dispatch_app.rollups.schedule import BEAT_SCHEDULE as ROLLUPS_SCHEDULE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routerproject.settings")

app = Celery("signalbox")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["dispatch_app.rollups", "dispatch_app.fleet", "dispatch_app.alerts"])
app.conf.beat_schedule = ROLLUPS_SCHEDULE | FLEET_SCHEDULE | ALERTS_SCHEDULE
