"""The Celery application: housekeeping of the ledger and the rollups.

A message is a hint and the database is the truth, so a task may be delivered any number of times, beat may run twice, and
nothing that a message carries decides anything.
"""

import os

from celery import Celery

from dispatch_app.rollups.schedule import BEAT_SCHEDULE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "routerproject.settings")

app = Celery("signalbox")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks(["dispatch_app.rollups"])
app.conf.beat_schedule = BEAT_SCHEDULE
