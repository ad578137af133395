"""How often the housekeeping runs. A message that waited longer than until the next one is dropped."""

from datetime import timedelta
from typing import Any


def _every(task: str, interval: timedelta) -> dict[str, Any]:
    return {"task": task, "schedule": interval, "options": {"expires": interval.total_seconds()}}


BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "drain": _every("rollups.drain", timedelta(seconds=5)),
    "sweep": _every("rollups.sweep", timedelta(seconds=30)),
    "keep-partitions": _every("rollups.keep_partitions", timedelta(hours=1)),
}
