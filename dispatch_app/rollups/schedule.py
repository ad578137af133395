"""How often the housekeeping runs. A message that waited longer than until the next one is dropped."""

from datetime import timedelta
from typing import Any


def every(task: str, interval: timedelta) -> dict[str, Any]:
    """An entry of a beat schedule."""
    return {"task": task, "schedule": interval, "options": {"expires": interval.total_seconds()}}


BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "drain": every("rollups.drain", timedelta(seconds=5)),
    "sweep": every("rollups.sweep", timedelta(seconds=30)),
    "forget-keys": every("rollups.forget_keys", timedelta(minutes=5)),
    "keep-partitions": every("rollups.keep_partitions", timedelta(hours=1)),
    "reconcile": every("rollups.reconcile", timedelta(minutes=5)),
    "reconcile-all": every("rollups.reconcile_all", timedelta(days=1)),
}
