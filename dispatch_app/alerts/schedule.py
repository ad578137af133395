"""How often undelivered alerts are looked for (what a lost hint costs), and what people are to be told of."""

from datetime import timedelta
from typing import Any

from dispatch_app.rollups.schedule import every

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {
    "deliver-alerts": every("alerts.deliver", timedelta(seconds=15)),
    "watch-targets": every("alerts.watch_targets", timedelta(seconds=15)),
    "watch-kill-switches": every("alerts.watch_kill_switches", timedelta(seconds=5)),
    "watch-budgets": every("alerts.watch_budgets", timedelta(seconds=10)),
}
