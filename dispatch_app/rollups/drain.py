"""From deltas to figures: hours by addition, days and months by recompute.

Every step is a transaction that leaves the figures whole, and the database alone decides what counts. So any number of
drains may run at once, and each may die anywhere.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.db import transaction

from dispatch_app.rollups.statements import Row, execute, fetch, fetch_one

CHUNK_DELTAS = 5_000
CHUNK_BUCKETS = 50
PENDING_COUNTED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """What the figures lack. Everything settled before `figures_until` is in them.

    `pending` is the number of deltas not yet added, counted no further than `PENDING_COUNTED`.
    """

    figures_until: datetime
    pending: int

    @property
    def is_capped(self) -> bool:
        """Whether there may be more pending than was counted."""
        return self.pending >= PENDING_COUNTED


def drain_deltas() -> int:
    """Add all that is pending to the figures; answers how many deltas this call took."""
    started = fetch_one("drain_started")
    drained = 0
    while chunk := _drain_chunk():
        drained += chunk
    recompute_dirty()
    execute("advance_watermark", started)
    return drained


def recompute_dirty() -> None:
    """Compute anew the days, then the months, that were changed since they were last computed."""
    while _recompute_some("day"):
        pass
    while _recompute_some("month"):
        pass


def measure_lag() -> Lag:
    """How far the figures go at this moment."""
    row = fetch_one("lag", {"most": PENDING_COUNTED})
    is_complete = not row["pending"] and not row["has_dirty"]
    return Lag(figures_until=row["now"] if is_complete else row["figures_until"], pending=row["pending"])


def _drain_chunk() -> int:
    with transaction.atomic():
        return int(fetch_one("drain_chunk", {"most": CHUNK_DELTAS})["drained"])


def _recompute_some(grain: Literal["day", "month"]) -> bool:
    with transaction.atomic():
        claimed = fetch("claim_dirty", {"grain": grain, "most": CHUNK_BUCKETS})
        if claimed:
            execute(f"recompute_{grain}s", _buckets(claimed))
    return bool(claimed)


def _buckets(claimed: list[Row]) -> dict[str, object]:
    return {
        "tenant_ids": [mark["tenant_id"] for mark in claimed],
        "first_days": [mark["first_day"] for mark in claimed],
    }
