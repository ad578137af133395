"""How often models are looked after."""

from datetime import timedelta
from typing import Any

from dispatch_app.rollups.schedule import every

BEAT_SCHEDULE: dict[str, dict[str, Any]] = {"keep-warm": every("fleet.keep_warm", timedelta(seconds=30))}
