"""How often undelivered alerts are looked for (what a lost hint costs), and targets that need somebody."""

from datetime import timedelta
from typing import Any

from dispatch_app.rollups.schedule import every

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "deliver-alerts": every("alerts.deliver", timedelta(seconds=15)),
    "watch-targets": every("alerts.watch_targets", timedelta(seconds=15)),
}
