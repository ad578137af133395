"""How often undelivered alerts are looked for: what a lost hint costs."""

from datetime import timedelta
from typing import Any

from dispatch_app.rollups.schedule import every

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {"deliver-alerts": every("alerts.deliver", timedelta(seconds=15))}
